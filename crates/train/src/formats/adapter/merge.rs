//! Merging adapters into the weights of a model.

use std::path::Path;

use super::files::{Adapter, Change, Factor, fingerprint};
use super::refused;
use crate::config::{ModelConfig, ParamSpec};
use crate::error::TrainError;
use crate::formats::rope;
use crate::formats::source::Model;
use host::Store;
use host::gemm::{MatmulPrecision, Matrix, MatrixMut, matmul_serial};

/// Refuses a model that has changed since `adapter` was trained on it.
pub(super) fn check_base(adapter: &Adapter, base: &Path, model: &Model) -> Result<(), TrainError> {
    match &adapter.base {
        Some(want) if *want != fingerprint(&model.params) => {
            let got = fingerprint(&model.params);
            let base = base.display();
            let problem = format!("it was trained on weights with fingerprint {want}, `{base}` has {got}");
            let remedy = format!("Restore that model, or use the adapter with this one by `--model {base}`.");
            Err(refused(&adapter.path, problem, remedy))
        }
        _ => Ok(()),
    }
}

impl Adapter {
    /// Adds `weight` times the adapter to the weights `params` of a model, `[N]`.
    ///
    /// Numerics: `W + s·B·A` in f32; DoRA's norms of rows in f64.
    ///
    /// # Errors
    /// [`TrainError::Adapter`].
    pub(super) fn merge(
        &self,
        config: &ModelConfig,
        params: &mut [f32],
        weight: f64,
    ) -> Result<(), TrainError> {
        let specs = config.params();
        let named = |name: &str| specs.iter().find(|spec| spec.name == name);
        for (name, (shape, values)) in &self.whole {
            if weight != 1.0 {
                return Err(
                    self.misfit(format!("it replaces `{name}`, of which no share of {weight} can be taken"))
                );
            }
            let is_classifier = config.tied && name == "lm_head.weight";
            let stored = if is_classifier { "model.embed_tokens.weight" } else { name.as_str() };
            let Some(spec) = named(stored) else {
                return Err(self.misfit(format!("it replaces `{name}`, which the model does not have")));
            };
            if *shape != spec.shape {
                return Err(self
                    .misfit(format!("tensor `{name}` has shape {shape:?}, in the model {:?}", spec.shape)));
            }
            let other = if is_classifier { "model.embed_tokens.weight" } else { "lm_head.weight" };
            let is_end = config.tied && stored == "model.embed_tokens.weight";
            if is_end && self.whole.get(other).map(|(_, own)| own) != Some(values) {
                return Err(
                    self.misfit(format!("it changes `{name}` alone, which the model ties to `{other}`"))
                );
            }
            let own = rope::in_memory(config, spec, values);
            params[spec.range()].copy_from_slice(&own);
        }
        for (module, change) in &self.changes {
            let name = format!("{module}.weight");
            let Some(spec) = named(&name).filter(|spec| spec.shape.len() == 2) else {
                return Err(self.misfit(format!("it changes `{name}`, which the model does not have")));
            };
            if config.tied && spec.layer.is_none() {
                return Err(
                    self.misfit(format!("it changes `{name}` alone, which the model ties to another"))
                );
            }
            self.change(config, (spec, change), &mut params[spec.range()], (module, weight))?;
        }
        Ok(())
    }

    fn change(
        &self,
        config: &ModelConfig,
        (spec, change): (&ParamSpec, &Change),
        to: &mut [f32],
        (module, weight): (&str, f64),
    ) -> Result<(), TrainError> {
        let (a, b) = self.check_change(config, module, change)?;
        let ([rank, inputs], [outputs, _]) = (a.shape, b.shape);
        let want = [outputs, inputs];
        let scale = self.config.scale(module, rank).map_err(|e| self.misfit(format!("`{module}`: {e}")))?;
        // The rows of a projection may have another order in memory.
        let factor = ParamSpec { shape: b.shape.to_vec(), ..spec.clone() };
        let rows = rope::in_memory(config, &factor, &b.values);
        let scale = (scale * weight) as f32;
        let (b, a) = (Matrix::new(&*rows, outputs, rank), Matrix::new(&*a.values, rank, inputs));
        let math = MatmulPrecision::F32;
        match change.is_embedding {
            true => {
                let to = MatrixMut::new(&mut *to, want[1], want[0]);
                matmul_serial(math, to, Store::Add, scale, a.t(), b.t());
            }
            false => {
                let to = MatrixMut::new(&mut *to, want[0], want[1]);
                matmul_serial(math, to, Store::Add, scale, b, a);
            }
        }
        match (&change.magnitude, self.config.dora) {
            (None, false) => Ok(()),
            (Some(norms), true) if norms.len() == outputs && weight == 1.0 && !change.is_embedding => {
                let spec = ParamSpec { shape: vec![outputs], ..spec.clone() };
                let norms = rope::in_memory(config, &spec, norms);
                for (row, want) in to.chunks_exact_mut(inputs).zip(norms.iter()) {
                    let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                    let factor = (f64::from(*want) / norm) as f32;
                    row.iter_mut().for_each(|x| *x *= factor);
                }
                Ok(())
            }
            (Some(norms), true) => Err(self.misfit(format!(
                "DoRA's norms of `{module}` are {}, and a share of {weight} of {outputs} rows is wanted",
                norms.len()
            ))),
            (Some(_), false) => Err(self.misfit(format!("`{module}` has norms, and `use_dora` is not set"))),
            (None, true) => Err(self.misfit(format!("`use_dora` is set, and `{module}` has no norms"))),
        }
    }

    /// The factors A and B of `module`, if they fit its weight.
    ///
    /// # Errors
    /// [`TrainError::Adapter`], with tensor and shapes.
    pub(super) fn check_change<'c>(
        &self,
        config: &ModelConfig,
        module: &str,
        change: &'c Change,
    ) -> Result<(&'c Factor, &'c Factor), TrainError> {
        let name = format!("{module}.weight");
        let Some(spec) = config.params().into_iter().find(|spec| spec.name == name && spec.shape.len() == 2)
        else {
            return Err(self.misfit(format!("it changes `{name}`, which the model does not have")));
        };
        let (Some(a), Some(b)) = (&change.a, &change.b) else {
            return Err(self.misfit(format!("one of the two factors of `{module}` is missing")));
        };
        if a.shape[0] != b.shape[1] {
            return Err(self.misfit(format!(
                "tensors `{}` {:?} and `{}` {:?} have different ranks",
                a.name, a.shape, b.name, b.shape
            )));
        }
        let [outputs, inputs] = if change.is_embedding { [1, 0] } else { [0, 1] };
        for (factor, fits) in [(a, a.shape[1] == spec.shape[inputs]), (b, b.shape[0] == spec.shape[outputs])]
        {
            if !fits {
                return Err(self.misfit(format!(
                    "tensor `{}` has shape {:?}, and the model's `{name}` {:?}",
                    factor.name, factor.shape, spec.shape
                )));
            }
        }
        Ok((a, b))
    }

    fn misfit(&self, problem: String) -> TrainError {
        refused(&self.path, problem, "Use the adapter with the model that it was made for.")
    }
}
