//! `backpropane mil run`.

use super::{floats, npy, npy_floats, programs};
use crate::place::Place;
use mil::{DType, Data};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::json;

const ENGINES: [&str; 2] = ["soft", "reference"];

/// A place where `x` is in files of several kinds: 1 … 6 in two rows.
fn inputs() -> Place {
    let place = programs();
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    place.write("x.npy", npy_floats(DType::F16, &[2, 3], &x));
    place.write("x32.npy", npy_floats(DType::F32, &[2, 3], &[0.1, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let bytes: Vec<u8> = mil::bytes::to_memory(DType::F16, &Data::Float(x.to_vec()));
    let view = TensorView::new(Dtype::F16, vec![2, 3], &bytes).expect("a tensor");
    place.write("x.safetensors", safetensors::serialize([("x", view)], None).expect("a file"));
    place
}

#[test]
fn a_folder_runs_with_its_weights() {
    let place = inputs();
    for engine in ENGINES {
        for input in ["x=x.npy", "x.safetensors", "x=x.safetensors"] {
            let args = format!("mil run model.mlmodelc --input {input} --engine {engine} --json");
            let outcome = place.succeed(&args);
            let json = outcome.json();
            assert_eq!((&json["engine"], outcome.stderr.as_str()), (&engine.into(), ""));
            let y = &json["outputs"][0];
            // Rows of x by rows of W.
            assert_eq!((&y["name"], &y["dtype"], &y["shape"]), (&"y".into(), &"fp16".into(), &json!([2, 2])));
            assert_eq!(y["data"], json!([14.0, 32.0, 32.0, 77.0]));
            assert_eq!(json["outputs"][1]["data"], json!([155.0]), "{engine} {input}");
        }
    }
    let outcome = place.succeed("mil run model.mlmodelc --input x=x.npy");
    let want = "\
output  type                  min   mean  max  first elements
y       tensor<fp16, [2, 2]>   14  38.7500   77  14 32 32 77
sum     fp16                  155    155  155  155
";
    assert_eq!(
        outcome.stdout.split_whitespace().collect::<Vec<_>>(),
        want.split_whitespace().collect::<Vec<_>>()
    );
    assert_eq!(outcome.stderr, "");
}

#[test]
fn programs_are_found_however_deep() {
    let place = inputs();
    let nested = "X.mlpackage/Data/com.apple.CoreML/X.mlmodelc";
    for file in ["model.mil", "weights/w.bin"] {
        place.write(&format!("{nested}/{file}"), place.read(&format!("model.mlmodelc/{file}")));
    }
    place.succeed("mil run X.mlpackage --random 1");
    place.write("alone.mil", place.read("model.mlmodelc/model.mil"));
    place.succeed("mil run alone.mil --weights model.mlmodelc/weights --random 1");
}

#[test]
fn results_go_to_files_of_their_types() {
    let place = inputs();
    for engine in ENGINES {
        place.succeed(&format!("mil run model.mlmodelc --input x=x.npy --engine {engine} --out results"));
        let y = floats(DType::F16, &[2, 2], &[14.0, 32.0, 32.0, 77.0]);
        let bytes = mil::bytes::to_memory(DType::F16, &y.data);
        let file = place.read("results/y.npy");
        assert!(file.ends_with(&bytes) && file.starts_with(b"\x93NUMPY"), "{file:?}");
        place.succeed(&format!(
            "mil run model.mlmodelc --input x=x.npy --engine {engine} --out r.safetensors"
        ));
        let file = place.read("r.safetensors");
        let tensors = SafeTensors::deserialize(&file).expect("a file");
        let y = tensors.tensor("y").expect("y");
        assert_eq!((y.dtype(), y.shape(), y.data()), (Dtype::F16, &[2, 2][..], &bytes[..]));
        assert_eq!(tensors.tensor("sum").expect("sum").shape(), [0; 0]);
    }
}

#[test]
fn integers_stay_integers() {
    let place = inputs();
    // 2²⁴ + 1 is no f32.
    place.write("n.npy", npy(DType::I64, &[2], &Data::Int(vec![16_777_217, -5])));
    for engine in ENGINES {
        let args =
            format!("mil run model.mlmodelc --function second --input n=n.npy --engine {engine} --json");
        assert_eq!(place.succeed(&args).json()["outputs"][0]["data"], json!([33_554_434, -10]));
    }
}

#[test]
fn a_state_is_an_input_and_an_output() {
    let place = inputs();
    place.write("two.npy", npy_floats(DType::F32, &[2], &[1.0, 2.0]));
    for engine in ENGINES {
        let args = format!("mil run state.mil --input x=two.npy --engine {engine} --json --out out");
        let json = place.succeed(&args).json();
        assert_eq!(
            (&json["outputs"][0]["data"], &json["outputs"][1]["data"]),
            (&json!([1.0, 4.0]), &json!([1.0, 2.0]))
        );
        assert_eq!(json["outputs"][1]["name"], "total");
        let json = place.succeed(&format!("{args} --input total=out/total.npy")).json();
        assert_eq!(json["outputs"][1]["data"], json!([2.0, 4.0]));
        std::fs::remove_dir_all(place.path("out")).expect("removed");
    }
}

#[test]
fn random_inputs_follow_from_the_seed() {
    let place = inputs();
    let run = |args: &str| place.succeed(&format!("mil run a.mil --json {args}")).json();
    assert_eq!(run("--random 1"), run("--random 1 --threads 1"));
    assert_ne!(run("--random 1"), run("--random 2"));
    // Sizes that are open: the default of the program, or those that are given.
    let shape = |args: &str| {
        place.succeed(&format!("mil run model.mlmodelc --json {args}")).json()["outputs"][0]["shape"].clone()
    };
    assert_eq!(shape("--random 1"), json!([1, 2]));
    assert_eq!(shape("--random 1 --shape x=4,3"), json!([4, 2]));
}

#[test]
fn rounding_is_told() {
    let place = inputs();
    let outcome = place.succeed("mil run model.mlmodelc --input x=x32.npy");
    assert_eq!(outcome.stderr, "note: `x` is rounded from fp32 to fp16\n");
}

/// Results that are parameters, constants, or the same value twice are results like any other.
#[test]
fn results_may_be_anything() {
    let place = inputs();
    place.write(
        "odd.mil",
        "program(1.3) { func main<ios18>(tensor<fp32, [2]> x, tensor<bool, [2]> p) {
            tensor<int32, [2]> k = const()[val = tensor<int32, [2]>([7, 8])];
            tensor<bool, [2]> q = logical_not(x = p);
            tensor<int8, [2]> small = cast(x = k, dtype = string(\"int8\"));
        } -> (x, k, q, q, small); }",
    );
    place.write("x2.npy", npy_floats(DType::F32, &[2], &[1.5, -0.0]));
    place.write("p.npy", npy(DType::Bool, &[2], &Data::Bool(vec![true, false])));
    for engine in ENGINES {
        let json = place
            .succeed(&format!(
                "mil run odd.mil --input x=x2.npy --input p=p.npy --json --engine {engine} --out odd"
            ))
            .json();
        let data: Vec<_> = (0..5).map(|i| json["outputs"][i]["data"].clone()).collect();
        assert_eq!(
            data,
            [json!([1.5, -0.0]), json!([7, 8]), json!([false, true]), json!([false, true]), json!([7, 8])],
            "{engine}"
        );
    }
    assert!(place.read("odd/small.npy").windows(3).any(|w| w == b"|i1"));
}

/// A row of a cache goes where inputs say. Source: apple/coreai-torch, issue 6.
#[test]
fn a_cache_is_written_where_inputs_say() {
    let place = Place::new();
    let program = "program(1.3) {
        func main<ios18>(state<tensor<fp16, [1, 4, 2]>> cache, tensor<fp16, [1, 1, 2]> row, tensor<int32, [3]> begin, tensor<int32, [3]> end) {
            tensor<fp16, [1, 4, 2]> old = read_state(input = cache)[name = string(\"old\")];
            tensor<fp16, [1, 4, 2]> new = slice_update(begin = begin, end = end, update = row, x = old)[name = string(\"new\")];
            write_state(data = new, input = cache)[name = string(\"write\")];
            tensor<fp16, [1, 4, 2]> out = add(x = new, y = new)[name = string(\"out\")];
        } -> (out);
    }";
    place.write("cache.mil", program);
    place.write("row.npy", npy_floats(DType::F16, &[1, 1, 2], &[5.0, 6.0]));
    let bounds = |name: &str, values: [i64; 3]| {
        place.write(name, npy(DType::I32, &[3], &Data::Int(values.to_vec())));
    };
    bounds("begin.npy", [0, 2, 0]);
    let args = "mil run cache.mil --random 1 --input row=row.npy --input begin=begin.npy --input end=end.npy";
    for engine in ENGINES {
        bounds("end.npy", [1, 3, 2]);
        let json = place.succeed(&format!("{args} --engine {engine} --json")).json();
        assert_eq!(json["outputs"][0]["data"], json!([0.0, 0.0, 0.0, 0.0, 10.0, 12.0, 0.0, 0.0]), "{engine}");
        assert_eq!(json["outputs"][1]["data"], json!([0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 0.0, 0.0]), "{engine}");
        // A part of another size than the row, and one behind the end.
        for end in [[1, 4, 2], [1, 2, 2]] {
            bounds("end.npy", end);
            let outcome = place.run(&format!("{args} --engine {engine}"));
            assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
            let said =
                "`new`, with these inputs: `slice_update` puts an `update` of [1, 1, 2] over a part of";
            assert!(outcome.stderr.contains(said), "{engine}: {}", outcome.stderr);
        }
    }
}

/// MIL leaves open what an index beyond its axis gives, unless the program validates it.
#[test]
fn an_index_beyond_its_axis_is_named() {
    let place = Place::new();
    let program = |validates: bool| {
        format!(
            "program(1.3) {{
                func main<ios18>(tensor<fp16, [4, 2]> x, tensor<int32, [3]> i) {{
                    tensor<int32, [3]> j = add(x = i, y = int32(1))[name = string(\"j\")];
                    tensor<fp16, [3, 2]> y = gather(x = x, indices = j, axis = int32(-2), batch_dims = int32(0), \
                        validate_indices = bool({validates}))[name = string(\"y\")];
                }} -> (y);
            }}"
        )
    };
    place.write("open.mil", program(false));
    place.write("strict.mil", program(true));
    place.write("x.npy", npy_floats(DType::F16, &[4, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]));
    let run = |name: &str, indices: [i64; 3], engine: &str| {
        place.write("i.npy", npy(DType::I32, &[3], &Data::Int(indices.to_vec())));
        place.run(&format!("mil run {name}.mil --input x=x.npy --input i=i.npy --json --engine {engine}"))
    };
    let said = "`gather` of `y`: index 10 (element 2) of `j` is beyond axis 0 (size 4) of `x`";
    for engine in ENGINES {
        for name in ["open", "strict"] {
            let outcome = run(name, [2, -1, -4], engine);
            assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{engine} {name}");
            assert_eq!(outcome.json()["outputs"].as_array().map(Vec::len), Some(1));
            assert_eq!(outcome.json()["outputs"][0]["data"], json!([6.0, 7.0, 0.0, 1.0, 2.0, 3.0]));
        }
        let outcome = run("open", [0, 0, 9], engine);
        let want =
            format!("warning: {said}; what that gives is undefined, and here the nearest element is taken\n");
        assert_eq!((outcome.code, outcome.stderr), (Some(0), want), "{engine}");
        let outcome = run("strict", [0, 0, 9], engine);
        assert_eq!(outcome.code, Some(2), "{engine}: {}", outcome.stdout);
        assert!(outcome.stderr.starts_with(&format!("error: {said}\nhint: ")), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
    }
}
