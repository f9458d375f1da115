//! Which setting is at fault when numbers leave their range, and what mends it.

use crate::step::OutOfRange;
use mil::DType;

/// A rate or scale that the user can set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// Its flag.
    pub flag: &'static str,
    /// Its value.
    pub value: f64,
    /// The value that suits the model.
    pub usual: f64,
    /// What divides it for another try.
    pub divisor: f64,
}

impl Knob {
    /// A value to try instead: at most the usual one.
    fn calmer(&self) -> f64 {
        // Without the digits that a division adds.
        let less = format!("{:.3e}", self.value / self.divisor).parse().unwrap_or(self.usual);
        self.usual.min(less)
    }

    fn excess(&self) -> f64 {
        self.value / self.usual
    }
}

/// What is known of a run when its numbers leave their range.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// The learning rates in use.
    pub rates: Vec<Knob>,
    pub loss_scale: Knob,
    /// Updates of the weights with these settings.
    pub updates: u64,
    /// The loss of the step at fault.
    pub loss: f64,
    /// Whether the loss had risen above that of the first step.
    pub has_risen: bool,
    /// The first value that left its range, if a layer's.
    pub found: Option<OutOfRange>,
}

/// What is at fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// These learning rates are too high.
    Rates(Vec<Knob>),
    /// The loss scale is too large: gradients overflow, losses do not.
    LossScale(Knob),
    /// The model's values do not fit into the element type of its programs; the first that does not, if a layer's.
    Model(Option<OutOfRange>),
}

impl Fault {
    /// The fault by the evidence: before any update it is the scale or the model; a rate above the usual one is a
    /// likelier cause than a model that trains well elsewhere.
    pub(super) fn of(evidence: Evidence) -> Fault {
        let Evidence { rates, loss_scale, updates, loss, has_risen, found } = evidence;
        let is_scaled_up = loss_scale.excess() > 1.0;
        if loss.is_finite() && (updates == 0 || is_scaled_up || !has_risen) {
            return Fault::LossScale(loss_scale);
        }
        let is_fast = rates.iter().any(|rate| rate.excess() > 1.0);
        if updates > 0 && (is_fast || has_risen || found.is_none()) {
            return Fault::rates(rates);
        }
        Fault::Model(found)
    }

    /// Of several rates those that exceed the usual ones most.
    pub(super) fn rates(mut rates: Vec<Knob>) -> Fault {
        let most = rates.iter().map(Knob::excess).fold(0.0, f64::max);
        if most > 1.0 {
            rates.retain(|rate| rate.excess() >= most);
        }
        Fault::Rates(rates)
    }

    /// What mends it: a noun.
    pub fn remedy(&self) -> &'static str {
        match self {
            Fault::Rates(rates) if rates.len() > 1 => "lower learning rates",
            Fault::Rates(_) => "a lower learning rate",
            Fault::LossScale(_) => "a smaller loss scale",
            Fault::Model(_) => "values of fp32",
        }
    }

    /// The flags that do so; `None` if none does.
    pub fn flags(&self) -> Option<String> {
        let set = |knob: &Knob| format!("{} {:?}", knob.flag, knob.calmer());
        match self {
            Fault::Rates(rates) => Some(rates.iter().map(set).collect::<Vec<_>>().join(" ")),
            Fault::LossScale(scale) => Some(set(scale)),
            Fault::Model(Some(found)) if found.dtype == DType::F16 => {
                let is_stream = matches!(found.value.as_str(), "x" | "x2");
                Some(if is_stream { "--norms host" } else { "--storage f32" }.to_owned())
            }
            Fault::Model(_) => None,
        }
    }

    /// The hint for a run whose newest checkpoint is of step `saved`; `resume` is the command to go on from it.
    pub fn hint(&self, saved: Option<u64>, resume: &str) -> String {
        let remedy = self.remedy();
        match (saved, self.flags()) {
            (_, None) => match self {
                Fault::Model(Some(found)) => found.hint().unwrap_or_default().to_owned(),
                _ => "Every layer's values are finite: look at the final norm's weight and the classifier's."
                    .to_owned(),
            },
            (Some(step), Some(flags)) => format!("Go on from step {step} with {remedy}: `{resume} {flags}`."),
            (None, Some(flags)) => match self {
                Fault::Model(Some(found)) => found.hint().unwrap_or_default().to_owned(),
                _ => format!("Start again with {remedy}, such as `{flags}`."),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(lr: f64, muon_lr: f64, scale: f64, updates: u64, loss: f64) -> Evidence {
        let rate = |flag, value, usual| Knob { flag, value, usual, divisor: 10.0 };
        Evidence {
            rates: vec![rate("--lr", lr, 0.008), rate("--muon-lr", muon_lr, 0.02)],
            loss_scale: Knob { flag: "--loss-scale", value: scale, usual: 256.0, divisor: 16.0 },
            updates,
            loss,
            has_risen: false,
            found: None,
        }
    }

    fn flags(evidence: Evidence) -> Option<String> {
        Fault::of(evidence).flags()
    }

    #[test]
    fn the_setting_that_is_farthest_from_usual_is_at_fault() {
        let found = |value: &str| OutOfRange {
            layer: 1,
            value: value.to_owned(),
            count: 1,
            of: 2,
            largest: 6e4,
            dtype: DType::F16,
        };
        let some = |flags: &str| Some(flags.to_owned());
        assert_eq!(flags(evidence(0.008, 30.0, 256.0, 9, f64::NAN)), some("--muon-lr 0.02"));
        assert_eq!(flags(evidence(3.0, 0.05, 256.0, 9, f64::NAN)), some("--lr 0.008"));
        assert_eq!(flags(evidence(0.008, 0.02, 256.0, 9, f64::NAN)), some("--lr 0.0008 --muon-lr 0.002"));
        // A rate of any size has no part in what happens before the first update.
        assert_eq!(flags(evidence(3.0, 30.0, 1e30, 0, 5.0)), some("--loss-scale 256.0"));
        assert_eq!(flags(evidence(0.008, 0.02, 256.0, 0, 5.0)), some("--loss-scale 16.0"));
        let large = Evidence { found: Some(found("gate")), ..evidence(3.0, 30.0, 256.0, 0, f64::NAN) };
        assert_eq!(flags(large), some("--storage f32"));
        // Usual rates and a loss that did not rise: the model needs more range.
        let trained = Evidence { found: Some(found("x2")), ..evidence(0.008, 0.02, 256.0, 9, f64::NAN) };
        assert_eq!(flags(trained.clone()), some("--norms host"));
        assert_eq!(flags(Evidence { has_risen: true, ..trained }), some("--lr 0.0008 --muon-lr 0.002"));
    }

    #[test]
    fn a_hint_names_the_checkpoint_and_the_command() {
        let fault = Fault::of(evidence(3.0, 0.02, 256.0, 9, f64::NAN));
        let resume = "backpropane train --resume --out r";
        let hint =
            "Go on from step 7 with a lower learning rate: `backpropane train --resume --out r --lr 0.008`.";
        assert_eq!(fault.hint(Some(7), resume), hint);
        assert_eq!(fault.hint(None, resume), "Start again with a lower learning rate, such as `--lr 0.008`.");
    }
}
