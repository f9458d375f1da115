//! The projects whose reports the rules rest on.

pub const ANE: &str = "maderix/ANE";
pub const FSPECII: &str = "fspecii/ane-trainer";
pub const SLAVKO: &str = "slavko-at-klincov-it/ANE-Training";
pub const IPHONE: &str = "slavko-at-klincov-it/ANE-Training-iPhone";
pub const ORION: &str = "mechramc/Orion";
pub const RUSTANE: &str = "ncdrone/rustane (forks)";
pub const LUENGNAT: &str = "luengnat/rustane";
pub const ESPRESSO: &str = "christopherkarani/Espresso";
pub const ANEFORGE: &str = "sbryngelson/ANEForge";
pub const GUIDE: &str = "sbryngelson/ane-guide";
pub const M6_STUDY: &str = "751K/Apple-Neural-Engine-Microarchitecture-Study-M6";
pub const MIL_SPEC: &str = "mil_spec and mil_infer (crates.io)";
pub const LIBANE: &str = "AmiraniLabs/libane";
pub const H3: &str = "maderix/h3.c-ane";
pub const PREFILL: &str = "maderix/ane-prefill-bench";
pub const ANE_TRAIN: &str = "imperatormk/ane-train";
pub const LORA: &str = "jmanhype/ane-lora-training";
pub const GO_PORT: &str = "tmc/autoresearch-go-ane";
pub const ANE_INFER: &str = "thebasedcapital/ane-infer";
pub const FIELD_GUIDE: &str = "skyfallsin/apple-neural-engine-field-guide";
pub const DJPHOENIX: &str = "djphoenix in maderix/ANE issue 54";
pub const OMLX: &str = "jundot/omlx";
pub const TRANSFORMERS: &str = "apple/ml-ane-transformers";
pub const TINYGRAD: &str = "tinygrad extra/accel/ane";
