//! W: the process, the compiler service, and the files and text passed to it.

use super::chip::{Chip, Chips};
use super::evidence::{ran, says};
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::Subject;
use crate::facts;

pub(super) const RULES: &[Rule] = &[
    W1, W2, W3, W4, W5, W5B, W6, W6B, W6C, W7, W8, W9, W10, W11, W12, W13, W14, W15, W16, W17, W18, W19, W20,
    W21,
];

const W1: Rule = Rule {
    id: "W1",
    title: "The program's text is handed over as UTF-8 bytes, not as a string object.",
    route: Route::InMemory,
    consequence: Consequence::Crash,
    confidence: Confidence::A,
    source: &[says(ORION)],
    repair: "Pass the text as `NSData`.",
    check: Check::Never("it is about how the text is handed over"),
    ..Rule::DEFAULT
};

const W2: Rule = Rule {
    id: "W2",
    title: "The dictionary of weights is there, even if it is empty.",
    route: Route::InMemory,
    consequence: Consequence::Crash,
    confidence: Confidence::A,
    source: &[says(ORION), says(LORA), says(ANE_TRAIN)],
    conflict: Some("Orion sees a crash, ane-lora-training programs with `matmul` or slices that are refused"),
    repair: "Pass an empty dictionary for a program without weight files.",
    check: Check::Never("it is about the call, not the text"),
    ..Rule::DEFAULT
};

const W3: Rule = Rule {
    id: "W3",
    title: "Weight files are named by full paths that begin with `@model_path/`.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(LUENGNAT), says(ANE), says(ORION)],
    repair: "Name the file `@model_path/weights/NAME.bin`, or in another folder, in the text and in the dictionary.",
    check: Check::Text(weight_paths),
    ..Rule::DEFAULT
};

/// Orion's programs name `@model_path/layer0/wq.bin` and the like: 14 of 17 with such names ran on M4 Max.
fn weight_paths(s: &Subject<'_>, matches: &mut Matches) {
    for (path, _, span) in s.blobs() {
        let file = path.strip_prefix("@model_path/");
        if file.is_none_or(|f| f.is_empty() || f.ends_with('/')) {
            matches.at(span, || format!("a weight file is called `{path}`"));
        }
    }
}

const W4: Rule = Rule {
    id: "W4",
    title: "Text and weight files are in the temporary folder of the program's hexadecimal identifier before it is compiled.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ORION), says(ANE), says(SLAVKO)],
    repair: "Write `model.mil` and `weights/` into `$TMPDIR/<identifier>/` first.",
    check: Check::Never("it is about files beside the text"),
    ..Rule::DEFAULT
};

const W5: Rule = Rule {
    id: "W5",
    title: "Weights in files are frozen when the program is compiled; a file that is rewritten changes nothing.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(ANE), says(SLAVKO), says(FSPECII)],
    conflict: Some("Orion and Espresso report a reload without compiling that works: see W5b"),
    repair: "Compile again after weights change, or pass weights as inputs.",
    check: Check::Never("it concerns calls after compiling"),
    ..Rule::DEFAULT
};

const W5B: Rule = Rule {
    id: "W5b",
    title: "Loading a donor's compiled description with new weight data, without compiling, may keep the old weights.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::C,
    source: &[says(ANE), ran(ORION), ran(ESPRESSO)],
    conflict: Some(
        "reported to work by Orion and Espresso; Orion's loss with it is far worse than with compiling, and maderix/ANE saw no effect",
    ),
    repair: "Compile again, or compare one output with the expected one after such a reload.",
    check: Check::Never("it concerns calls after compiling"),
    ..Rule::DEFAULT
};

const W6: Rule = Rule {
    id: "W6",
    title: "One process compiles about a hundred programs in memory; then compiling fails without a message.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ANE), says(ORION), says(SLAVKO), says(DJPHOENIX)],
    repair: "Compile each kernel once, and start a new process before the budget is used up.",
    check: Check::Never("it is counted over a process, not in a text"),
    ..Rule::DEFAULT
};

const W6B: Rule = Rule {
    id: "W6b",
    title: "Programs that start and compile in a fast loop can leave the compiler service failing until the next start of the system.",
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(SLAVKO)],
    repair: "Leave time between processes that compile.",
    check: Check::Never("it is counted over the system, not in a text"),
    ..Rule::DEFAULT
};

const W6C: Rule = Rule {
    id: "W6c",
    title: "A phone holds a limited number of loaded programs at the same time; unloading frees them all.",
    chips: Chips::Only(&[Chip::A13, Chip::A14, Chip::A15, Chip::A16, Chip::A17]),
    consequence: Consequence::LoadFailure,
    confidence: Confidence::B,
    source: &[says(IPHONE)],
    repair: "Unload programs that are not needed.",
    check: Check::Never("it is counted over a process, not in a text"),
    ..Rule::DEFAULT
};

const W7: Rule = Rule {
    id: "W7",
    title: "After a program was refused, compiling again at once can wedge the compiler service.",
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(GUIDE), says(ANEFORGE)],
    repair: "Wait about 15 s, and give up after a few refusals.",
    check: Check::Never("it is about what is done after a refusal"),
    ..Rule::DEFAULT
};

const W8: Rule = Rule {
    id: "W8",
    title: "Any quality of service from 0 to 63 is accepted, and mostly makes no difference.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(ANE), says(SLAVKO)],
    conflict: Some("no effect on M4 and M5; on M3 Pro the value 9 was 6 to 42 % faster than the default"),
    repair: "Keep 21; on M3 Pro try 9.",
    check: Check::Never("it is an option of the call"),
    ..Rule::DEFAULT
};

const W9: Rule = Rule {
    id: "W9",
    title: "A thread of background quality of service waits more than twice as long for each evaluation.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(SLAVKO)],
    repair: "Evaluate from a thread of normal quality of service.",
    check: Check::Never("it is about the calling thread"),
    ..Rule::DEFAULT
};

const W10: Rule = Rule {
    id: "W10",
    title: "Evaluations of one program run one after the other.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(ANE), says(GUIDE), says(SLAVKO)],
    repair: "Do not expect threads to speed up one program.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const W11: Rule = Rule {
    id: "W11",
    title: "One execution binds a limited number of surfaces, inputs and outputs counted apart.",
    consequence: Consequence::Evaluation,
    confidence: Confidence::C,
    source: &[says(SLAVKO)],
    repair: "Pack small values as channels of one surface.",
    check: Check::Text(bound_surfaces),
    ..Rule::DEFAULT
};

fn bound_surfaces(s: &Subject<'_>, matches: &mut Matches) {
    let limit = facts::BOUND_SURFACES.value;
    for function in &s.functions {
        for (side, n) in [("inputs", function.inputs().count()), ("outputs", function.outputs().count())] {
            if n > limit {
                let name = function.func.name;
                matches.at(name.span, || format!("`{name}` has {n} {side}, more than {limit}"));
            }
        }
    }
}

const W12: Rule = Rule {
    id: "W12",
    title: "Programs compiled in memory cannot be chained on the engine.",
    route: Route::InMemory,
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(ANE), says(ANE_INFER), says(SLAVKO)],
    repair: "Dispatch each kernel by itself, or join them in one program.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const W13: Rule = Rule {
    id: "W13",
    title: "The real-time path is no faster, but can be steadier.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(ANE)],
    conflict: Some(
        "no gain for 768 by 256; in another measurement the slowest percent fell from 35 to 3.3 ms",
    ),
    repair: "Use it only for even latency.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const W14: Rule = Rule {
    id: "W14",
    title: "An evaluation can call back when it is done.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(DJPHOENIX)],
    repair: "Use the request's completion handler to overlap work.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const W15: Rule = Rule {
    id: "W15",
    title: "Evaluating without the daemon saves a tenth of the latency.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(ANE_INFER)],
    repair: "Use the direct call for very small kernels.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const W16: Rule = Rule {
    id: "W16",
    title: "Programs are unloaded by hand, and their temporary folders stay until then.",
    route: Route::InMemory,
    consequence: Consequence::LoadFailure,
    confidence: Confidence::A,
    source: &[says(ORION), says(SLAVKO)],
    repair: "Unload each program once, and let unloading remove its folder.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const W17: Rule = Rule {
    id: "W17",
    title: "Keeping memory wired makes training loops slower.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(SLAVKO)],
    repair: "Leave the keep-wired option off.",
    check: Check::Never("it is an option of loading"),
    ..Rule::DEFAULT
};

const W18: Rule = Rule {
    id: "W18",
    title: "Performance counters are empty on systems that are sold.",
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(ANE), says(SLAVKO)],
    repair: "Measure with a clock.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const W19: Rule = Rule {
    id: "W19",
    title: "A handle for intermediate memory after loading means that the compiler spilled to DRAM.",
    consequence: Consequence::Slow,
    confidence: Confidence::C,
    source: &[says(SLAVKO)],
    repair: "Cut the program where its intermediate values are largest.",
    check: Check::Never("the compiler decides it"),
    ..Rule::DEFAULT
};

const W20: Rule = Rule {
    id: "W20",
    title: "Caches of compiled programs grow without bound, by many GB for each shape.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(H3), says(OMLX)],
    repair: "Clear the compile cache, and use few shapes.",
    check: Check::Never("it is about the system's files"),
    ..Rule::DEFAULT
};

const W21: Rule = Rule {
    id: "W21",
    title: "Status codes name the failure: 0x1d evaluation, 0x2 memory or procedure, 0x20004 too large, 0x50004 too many.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(ANE), says(ORION), says(OMLX), says(IPHONE), says(MIL_SPEC)],
    repair: "Look the code up here before changing the program.",
    check: Check::Never("it is about what an engine answers"),
    ..Rule::DEFAULT
};
