//! Broken and hostile model files, with what is said of each.

use std::io::Cursor;

/// A field that is a message, a text or bytes.
fn field(number: u64, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut out = varint(number << 3 | 2);
    out.extend(varint(body.len() as u64));
    out.extend(body);
    out
}

/// A field that is a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A model with this program, of specification 9.
fn model(program: impl AsRef<[u8]>) -> Vec<u8> {
    [number(1, 9), field(502, program)].concat()
}

/// A program of one function.
fn program(function: impl AsRef<[u8]>) -> Vec<u8> {
    model([number(1, 1), field(2, [field(1, "main"), field(2, function)].concat())].concat())
}

/// A program whose one function has this block for its opset.
fn block(block: impl AsRef<[u8]>) -> Vec<u8> {
    program([field(2, "CoreML8"), field(3, [field(1, "CoreML8"), field(2, block)].concat())].concat())
}

/// A program whose one operation has these fields besides its name.
fn operation(fields: impl AsRef<[u8]>) -> Vec<u8> {
    block(field(3, [field(1, "const"), fields.as_ref().to_vec()].concat()))
}

/// An operation with an attribute `val` of these fields.
fn value(fields: impl AsRef<[u8]>) -> Vec<u8> {
    operation(field(5, [field(1, "val"), field(2, fields)].concat()))
}

/// A tensor type: element type, rank, sizes.
fn tensor(dtype: u64, rank: u64, sizes: &[u64]) -> Vec<u8> {
    let size = |&n: &u64| field(3, field(1, number(1, n)));
    field(1, [number(1, dtype), number(2, rank), sizes.iter().flat_map(size).collect()].concat())
}

/// A value of a tensor type, its elements in field `kind` of the tensor's value.
fn elements(ty: Vec<u8>, kind: u64, elements: impl AsRef<[u8]>) -> Vec<u8> {
    value([field(2, ty), field(3, field(1, field(kind, field(1, elements))))].concat())
}

/// A type that is a list of a list of …
fn lists(depth: usize) -> Vec<u8> {
    (0..depth)
        .fold(tensor(10, 0, &[]), |ty, _| field(2, [field(1, ty), field(2, field(2, number(1, 0)))].concat()))
}

fn said(bytes: Vec<u8>) -> String {
    let length = bytes.len() as u64;
    match coreml::read(&mut Cursor::new(bytes), length) {
        Ok(read) => panic!("it is read:\n{}", read.text),
        Err(error) => {
            assert!(error.hint().ends_with('.'), "{}", error.hint());
            error.to_string()
        }
    }
}

#[track_caller]
fn each(rows: Vec<(&str, Vec<u8>, &str)>) {
    for (what, bytes, want) in rows {
        assert_eq!(said(bytes), want, "{what}");
    }
}

#[test]
fn files_that_are_no_models() {
    let whole = block(field(2, "y"));
    each(vec![
        ("nothing", vec![], "it holds no model: only a version"),
        ("a version", number(1, 9), "it holds no model: only a version"),
        ("a description", [number(1, 9), field(2, "")].concat(), "it holds no model: only a description"),
        (
            "a cut file",
            whole[..whole.len() - 1].to_vec(),
            "it is no Core ML model, from byte 2 on: field 502 of 37 bytes, of which 36 are there",
        ),
        (
            "a cut head",
            vec![0x08, 0x80],
            "it is no Core ML model, from byte 0 on: the end of the file inside a number",
        ),
        (
            "no number",
            vec![0x02, 0x00],
            "it is no Core ML model, from byte 0 on: a field without a valid number",
        ),
        (
            "a group",
            vec![0x0B],
            "it is no Core ML model, from byte 0 on: a field of kind 3, which protocol buffers do not have",
        ),
        (
            "a long number",
            vec![0xFF; 20],
            "it is no Core ML model, from byte 0 on: a number of more than 64 bits",
        ),
        (
            "a length beyond everything",
            [varint(502 << 3 | 2), varint(u64::MAX)].concat(),
            "it is no Core ML model, from byte 0 on: field 502 of 18446744073709551615 bytes, of which 0 are there",
        ),
        (
            "two programs",
            [whole.clone(), whole[2..].to_vec()].concat(),
            "it is no Core ML model, from byte 42 on: a second field 502",
        ),
    ]);
}

/// The weights of a classic network are in the file; here they are not, and nothing of them is asked for.
#[test]
fn other_kinds_of_models_are_refused_by_name() {
    let kind = |field: u64| [number(1, 4), varint(field << 3 | 2), varint(1 << 40)].concat();
    each(vec![
        ("network", kind(500), "it is a classic neural network, and no ML program"),
        ("classifier", kind(403), "it is a classic neural network, a classifier, and no ML program"),
        ("trees", kind(402), "it is a tree ensemble classifier, and no ML program"),
        ("pipeline", kind(202), "it is a pipeline of models, and no ML program"),
        ("gazetteer", kind(2004), "it is a gazetteer, and no ML program"),
    ]);
}

#[test]
fn programs_that_mil_text_cannot_hold() {
    let named = |name: &str| field(3, field(1, name));
    each(vec![
        ("another version", model(number(1, 2)), "programs of version 1 are read, not 2"),
        (
            "an unknown field",
            model(number(9, 1)),
            "it has a program of field 9, which the public schema of Core ML does not have",
        ),
        (
            "another encoding",
            model(field(1, "x")),
            "it is no Core ML model, from byte 5 on: field 1 of a program in another encoding than its own",
        ),
        (
            "no block",
            program(field(2, "CoreML8")),
            "function `main`: it has no block for its opset `CoreML8`",
        ),
        ("no function", program(""), "function `main`: it has no block for its opset ``"),
        (
            "parameters of a block",
            block(field(1, field(1, "x"))),
            "function `main`: its block has parameters of its own",
        ),
        (
            "attributes of a block",
            block(field(4, field(1, "a"))),
            "function `main`: a block has the attribute `a`, which MIL text cannot hold",
        ),
        (
            "a name with a dot",
            block(named("conv.1")),
            "function `main`, operation 1 (`conv.1`): `conv.1` is no name in MIL text, which has letters, digits and `_` in names",
        ),
        (
            "a long name",
            block(named(&"é".repeat(100))),
            &format!(
                "function `main`, operation 1 (`{0}…`): `{0}…` is no name in MIL text, which has letters, digits and `_` in names",
                "é".repeat(60)
            ),
        ),
        ("no name", block(named("")), "function `main`, operation 1 (``): a name is empty"),
        (
            "no UTF-8",
            block(field(2, [0xFF])),
            "it is no Core ML model, from byte 41 on: a text that is no UTF-8",
        ),
    ]);
}

#[test]
fn operations_that_contradict_themselves() {
    each(vec![
        (
            "an attribute twice",
            operation(
                [
                    field(
                        5,
                        [
                            field(1, "a"),
                            field(
                                2,
                                [field(2, tensor(23, 0, &[])), field(3, field(1, field(2, field(1, [1]))))]
                                    .concat(),
                            ),
                        ]
                        .concat(),
                    ),
                    field(5, field(1, "a")),
                ]
                .concat(),
            ),
            "function `main`, operation 1 (`const`), attribute `a`: it is there twice",
        ),
        (
            "an argument twice",
            operation([field(2, field(1, "x")), field(2, field(1, "x"))].concat()),
            "function `main`, operation 1 (`const`), argument `x`: it is there twice",
        ),
        (
            "an empty argument",
            operation(field(2, [field(1, "x"), field(2, field(1, ""))].concat())),
            "function `main`, operation 1 (`const`), argument `x`: it is empty",
        ),
        (
            "a result without a type",
            operation(field(3, field(1, "y"))),
            "function `main`, operation 1 (`const` of `y`), its results, `y`: it has no type",
        ),
    ]);
}

#[test]
fn values_that_contradict_themselves() {
    let place = |text: &str| format!("function `main`, operation 1 (`const`), attribute `val`: {text}");
    let scalar = |dtype| tensor(dtype, 0, &[]);
    for (what, bytes, want) in [
        ("no value", value(field(2, scalar(10))), "it has no value"),
        ("no type", value(field(3, "")), "it has no type"),
        ("an unknown element type", value(field(2, scalar(99))), "there is no element type 99"),
        ("a rank", value(field(2, tensor(10, 3, &[1, 2]))), "a tensor type of rank 3 has 2 sizes"),
        (
            "an open rank",
            value(field(2, tensor(10, u64::MAX, &[]))),
            "a tensor type leaves its number of axes open, which MIL text cannot hold",
        ),
        (
            "a size",
            value(field(2, tensor(10, 1, &[u64::MAX]))),
            "18446744073709551615 is too large for the size of an axis",
        ),
        ("many axes", value(field(2, tensor(10, 65, &[1; 65]))), "a tensor has at most 64 axes, not 65"),
        ("too few", elements(tensor(23, 1, &[3]), 2, [1, 2]), "tensor<int32, [3]> has 2 elements, not 3"),
        (
            "a text of floats",
            elements(scalar(2), 1, [0; 4]),
            "elements of type string are stored as 32-bit floats",
        ),
        (
            "fp16 in floats",
            elements(scalar(10), 1, [0; 4]),
            "elements of type fp16 are stored as 32-bit floats",
        ),
        ("half an fp16", elements(scalar(10), 7, [0; 1]), "1 elements of type fp16 are stored in 1 bytes"),
        ("out of range", elements(scalar(22), 2, varint(40_000)), "an element is out of the range of int16"),
        (
            "sizes whose product is beyond everything",
            elements(tensor(21, 3, &[1 << 40; 3]), 7, [0; 8]),
            "18446744073709551615 elements of type int8 are stored in 8 bytes",
        ),
        (
            "rows of nothing",
            elements(tensor(21, 2, &[1 << 40, 0]), 7, []),
            "an empty constant has 1099511627776 rows; at most 65536 are printed",
        ),
        (
            "a list as a tensor",
            value([field(2, scalar(10)), field(3, field(3, ""))].concat()),
            "fp16 has a list as its value",
        ),
        (
            "a file as a list",
            value([field(2, lists(1)), field(5, field(1, "w"))].concat()),
            "a list<fp16, ?> cannot be in a weight file",
        ),
        (
            "a list of others",
            value(
                [
                    field(2, lists(1)),
                    field(
                        3,
                        field(
                            3,
                            field(
                                1,
                                [field(2, scalar(23)), field(3, field(1, field(2, field(1, [1]))))].concat(),
                            ),
                        ),
                    ),
                ]
                .concat(),
            ),
            "item 0: it is of type int32, where fp16 belongs",
        ),
    ] {
        assert_eq!(said(bytes), place(want).replace("`val`: item", "`val`, item"), "{what}");
    }
}

/// A few bytes can be thousands of messages, or a page of text: limits hold before that.
#[test]
fn files_that_would_fill_memory_or_the_stack() {
    each(vec![
        (
            "a million operations",
            block([0x1A, 0x00].repeat(1_000_000)),
            "it has more than 50331648 bytes of decoded messages, which is more than is read",
        ),
        (
            "many booleans",
            elements(tensor(1, 1, &[4 << 20]), 3, vec![0; 4 << 20]),
            "it has more than 3145728 numbers in constants outside weight files, which is more than is read",
        ),
        (
            "many texts",
            value(field(3, field(1, field(4, [0x0A, 0x00].repeat(4 << 20))))),
            "it has more than 50331648 bytes of decoded messages, which is more than is read",
        ),
        (
            "a million inputs",
            [number(1, 9), field(2, [0x0A, 0x00].repeat(1_000_000)), field(502, "")].concat(),
            "it has more than 50331648 bytes of decoded messages, which is more than is read",
        ),
        (
            "a long program",
            [varint(502 << 3 | 2), varint(49 << 20), vec![0; 49 << 20]].concat(),
            "it has more than 50331648 bytes of program, which is more than is read",
        ),
        (
            "a long description",
            [varint(2 << 3 | 2), varint(5 << 20), vec![0; 5 << 20]].concat(),
            "it has more than 4194304 bytes of description, which is more than is read",
        ),
    ]);
    let bits = elements(tensor(37, 1, &[8 << 20]), 7, vec![0; 1 << 20]);
    assert!(said(bits).ends_with(
        "8388608 numbers in constants outside weight files are more than the 3145728 that are read"
    ));
    let deep = said(value(field(2, lists(10_000))));
    assert!(
        deep.starts_with("it is no Core ML model, from byte ")
            && deep.ends_with("messages nested more than 90 levels deep"),
        "{deep}"
    );
    // As deep as the decoder goes: what is no mistake here is one of the text.
    let text = said(value(field(2, lists(30))));
    assert!(text.ends_with("attribute `val`: it has no value"), "{text}");
}
