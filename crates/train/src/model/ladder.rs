//! Fallback plans for engines that refuse kernels: each avoids one more pattern that engines are reported to refuse.

use super::plan::{
    FINE_BACKWARD, FINE_FORWARD, FOUR, KernelPlan, Norms, Row, THREE_WITHOUT_NORMS, TWO, TWO_WITHOUT_NORMS,
};
use crate::config::ModelConfig;
use ane::{Engine, WeightMode};

/// A plan of kernels, with the placement of inputs and weights.
#[derive(Debug)]
pub struct Rung {
    /// Its name in checkpoints and reports.
    pub name: &'static str,
    /// A description of its kernels, without a verb.
    pub about: &'static str,
    /// The source of the report that engines refuse what it avoids.
    pub reported_by: &'static str,
    /// The kernels of the forward pass.
    forward: &'static [Row],
    /// The forward kernels of layers with norms of queries and keys, if different.
    forward_with_head_norms: &'static [Row],
    /// The kernels of the backward pass.
    backward: &'static [Row],
    /// Whether weights must be baked into kernels; else the user's weight mode applies.
    pub baked: bool,
    /// Whether each value has its own surface.
    pub separate_surfaces: bool,
}

/// The rungs, sorted by dispatches, fewest first: each avoids what those above it avoid, and one pattern more.
pub static LADDER: [Rung; 5] = [
    Rung {
        name: "six",
        about: "six kernels with norms inside",
        reported_by: "maderix/ANE: ran on M1 to M5 with baked weights",
        forward: TWO,
        forward_with_head_norms: TWO,
        backward: FOUR,
        baked: false,
        separate_surfaces: false,
    },
    Rung {
        name: "norms-out",
        about: "norms on the host",
        reported_by: "maderix/ANE, M4: a norm beside three dynamic products is refused",
        forward: TWO_WITHOUT_NORMS,
        forward_with_head_norms: THREE_WITHOUT_NORMS,
        backward: FOUR,
        baked: false,
        separate_surfaces: false,
    },
    Rung {
        name: "baked",
        about: "norms on the host, weights baked into kernels",
        reported_by: "ane-train, M1: run-time inputs cannot be reshaped or sliced",
        forward: TWO_WITHOUT_NORMS,
        forward_with_head_norms: THREE_WITHOUT_NORMS,
        backward: FOUR,
        baked: true,
        separate_surfaces: false,
    },
    Rung {
        name: "apart",
        about: "norms on the host, weights baked into kernels, a surface for each value, so that no input is sliced",
        reported_by: "Espresso, M3 Max: a slice of an input before norm, convolution and attention is refused",
        forward: TWO_WITHOUT_NORMS,
        forward_with_head_norms: THREE_WITHOUT_NORMS,
        backward: FOUR,
        baked: true,
        separate_surfaces: true,
    },
    Rung {
        name: "fine",
        about: "norms on the host, weights baked into kernels, a surface for each value, one product or one step of \
                attention in each kernel",
        reported_by: "maderix/ANE: its dynamic kernels have one or two products",
        forward: FINE_FORWARD,
        forward_with_head_norms: FINE_FORWARD,
        backward: FINE_BACKWARD,
        baked: true,
        separate_surfaces: true,
    },
];

impl Rung {
    /// The rung of this name.
    pub fn named(name: &str) -> Option<&'static Rung> {
        LADDER.iter().find(|rung| rung.name == name)
    }

    /// Its position on the ladder, counted from 0 at the top.
    pub fn place(&self) -> usize {
        LADDER.iter().position(|rung| rung.name == self.name).unwrap_or(0)
    }

    /// Its plan for layers of `cfg`.
    pub fn plan(&self, cfg: &ModelConfig) -> KernelPlan {
        let forward = if cfg.qk_norm { self.forward_with_head_norms } else { self.forward };
        KernelPlan::of(forward, self.backward).fit(cfg)
    }

    /// The weight mode if the user chose `wanted`; `None` if this rung does not allow it.
    pub fn weight_mode(&self, wanted: WeightMode) -> Option<WeightMode> {
        match (self.baked, wanted) {
            (false, wanted) => Some(wanted),
            (true, WeightMode::Auto | WeightMode::Baked) => Some(WeightMode::Baked),
            (true, WeightMode::Dynamic) => None,
        }
    }
}

/// The rungs that a model may be compiled with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// Where norms are computed: anything but `Auto` allows exactly one rung.
    pub norms: Norms,
    /// The rung that an engine of this kind accepted before: it is tried first.
    pub known: Option<&'static Rung>,
    /// The only rung to try: that of a resumed run. It is ignored if it does not allow the user's weight mode.
    pub exact: Option<&'static Rung>,
}

impl Start {
    /// The rungs to try for the user's weight mode; `known` is ignored for engines that refuse nothing.
    pub(crate) fn rungs(&self, wanted: WeightMode, may_refuse: bool) -> Vec<&'static Rung> {
        let only = |rung: &'static Rung| vec![rung];
        let exact = self.exact.filter(|rung| rung.weight_mode(wanted).is_some());
        match (exact, self.norms) {
            (Some(rung), _) => return only(rung),
            (None, Norms::Engine) => return only(&LADDER[0]),
            (None, Norms::Host) => return only(&LADDER[1]),
            (None, Norms::Auto) if !may_refuse => return only(&LADDER[0]),
            (None, Norms::Auto) => {}
        }
        let known = self.known.filter(|rung| rung.weight_mode(wanted).is_some());
        let possible = LADDER[known.map_or(0, Rung::place)..].iter();
        let mut rungs: Vec<&Rung> = Vec::new();
        for rung in possible.filter(|rung| rung.weight_mode(wanted).is_some()) {
            // With baked weights the rungs `baked` and `norms-out` are equal.
            let form = |rung: &Rung| (rung.forward, rung.weight_mode(wanted), rung.separate_surfaces);
            let same = |other: &&Rung| form(other) == form(rung);
            if !rungs.last().is_some_and(same) {
                rungs.push(rung);
            }
        }
        rungs
    }
}

impl Start {
    /// The first rung to try on an engine of this kind with [`WeightMode::Auto`].
    pub fn rung(&self, engine: Engine) -> &'static Rung {
        self.rungs(WeightMode::Auto, engine == Engine::Apple).first().copied().unwrap_or(&LADDER[0])
    }
}

impl From<Norms> for Start {
    fn from(norms: Norms) -> Start {
        Start { norms, ..Start::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(start: Start, wanted: WeightMode) -> Vec<&'static str> {
        start.rungs(wanted, true).iter().map(|rung| rung.name).collect()
    }

    #[test]
    fn what_the_user_says_decides_which_rungs_there_are() {
        let auto = Start::default();
        assert_eq!(names(auto, WeightMode::Auto), ["six", "norms-out", "baked", "apart", "fine"]);
        assert_eq!(names(auto, WeightMode::Baked), ["six", "norms-out", "apart", "fine"]);
        assert_eq!(names(auto, WeightMode::Dynamic), ["six", "norms-out"]);
        assert_eq!(names(Norms::Engine.into(), WeightMode::Auto), ["six"]);
        assert_eq!(names(Norms::Host.into(), WeightMode::Auto), ["norms-out"]);
        let known = Start { known: Rung::named("baked"), ..auto };
        assert_eq!(names(known, WeightMode::Auto), ["baked", "apart", "fine"]);
        assert_eq!(names(known, WeightMode::Dynamic), ["six", "norms-out"]);
        let exact = Start { exact: Rung::named("fine"), ..known };
        assert_eq!(names(exact, WeightMode::Auto), ["fine"]);
        assert_eq!(names(exact, WeightMode::Dynamic), ["six", "norms-out"]);
        assert_eq!(auto.rungs(WeightMode::Auto, false).len(), 1, "software refuses nothing");
        assert_eq!(Start { known: None, ..known }.rungs(WeightMode::Auto, false)[0].name, "six");
    }

    #[test]
    fn rungs_are_found_by_their_names() {
        for (place, rung) in LADDER.iter().enumerate() {
            assert_eq!(Rung::named(rung.name).map(Rung::place), Some(place));
        }
        assert!(Rung::named("seven").is_none());
    }
}
