//! Opening a run, new or resumed: everything is checked before anything is written.

use super::claim::{Claim, is_occupied};
use super::corpus::{Corpus, CorpusRequest, KnownTokenizer, Opened, packs};
use super::defaults::EpochFit;
use super::prepare::{Prepared, Resumed, use_of};
use super::template::ChosenTemplate;
use super::trainer::Parts;
use super::{Metrics, Notice, Options, Run, RunError, Settings};
use crate::checkpoint::{Launch, RunFolder, TrainState};
use crate::config::{ModelConfig, RopeKind, Trainable};
use crate::demand;
use crate::error::TrainError;
use crate::formats::{FolderMetadata, save_model};
use crate::model::{Rung, Start};
use crate::optim::{Average, LossScale, LossScaler, OptimizerState};
use crate::step::{Build, ChosenRung, CompileEvent, CompileRequest, Network, StepError, StepGraph};
use crate::tokenizer::Tokenizer;
use ane::{DeviceOptions, Engine};
use std::sync::Arc;

impl Run {
    /// Opens a run. Nothing is written before model, settings and data are checked.
    ///
    /// # Errors
    /// If model, settings, data or folder are invalid.
    pub fn open(options: &Options, notice: &mut (dyn FnMut(Notice<'_>) + Send)) -> Result<Run, RunError> {
        Run::open_with_rung(options, None, notice)
    }

    /// As [`Run::open`], but tries `known` first: the plan of kernels that such an engine accepted before.
    ///
    /// # Errors
    /// As [`Run::open`].
    pub fn open_with_rung(
        options: &Options,
        known: Option<&'static Rung>,
        notice: &mut (dyn FnMut(Notice<'_>) + Send),
    ) -> Result<Run, RunError> {
        let folder = RunFolder::at(&options.out);
        let mut claim = Claim::new(options);
        if !options.resume
            && let Some(file) = folder.foreign_file()
        {
            return Err(RunError::Foreign { dir: options.out.clone(), file });
        }
        let prepared = match (options.resume, is_occupied(&folder)?) {
            (false, true) => return Err(RunError::Occupied { dir: options.out.clone() }),
            (true, _) => Prepared::resumed(options, &mut claim, notice)?,
            (false, false) => Prepared::new(options)?,
        };
        let Prepared { cfg, mut settings, tokenizer, theta, trainable, base, mut metadata, missing, resumed } =
            prepared;
        let mut launch = Launch::of(options, resumed.as_ref().map(|r| &r.checkpoint.state));
        launch.trainable = (trainable != Trainable::default()).then(|| trainable.clone());
        launch.base = base;

        let pool = ane::Pool::new(options.threads).map_err(StepError::Threads)?;
        let wanted = launch.fill(DeviceOptions { math: settings.math, ..options.device });
        let before = resumed.as_ref().map(|r| &r.checkpoint);
        let build = Build::train(settings.storage).on(wanted).windows(settings.windows());
        let packed = packs(&settings, options, before)?;
        demand::check(&cfg, use_of(&cfg, &trainable, settings.windows(), packed))?;
        let build = build.documents(packed).trainable(trainable);
        let ladder = Start { norms: settings.norms, known, exact: launch.rung()? };
        let request = CompileRequest { cfg: &cfg, wanted, pool: &pool, build: &build, start: ladder };
        let device = request.open_engine()?;
        let is_pretrained = missing.is_some();
        let Opened { corpus, tokenizer, template } = pool.install(|| {
            let known = KnownTokenizer { tokenizer, missing };
            let of = (&cfg, &settings, &metadata);
            CorpusRequest::new(options, of, &launch, before).open(&mut claim, known, notice)
        })?;
        remember(template, &mut launch, &mut metadata);
        if let Some(windows) = corpus.windows() {
            let examples = matches!(corpus, Corpus::Examples { .. });
            let fit = EpochFit { windows, examples, is_new: resumed.is_none(), is_pretrained };
            settings = settings.for_epochs(&fit, &options.overrides);
        }
        settings.validate()?;

        let on_event = &mut progress(&cfg, notice);
        let network = request.compile_on(device, theta, on_event)?;
        if let Some(ChosenRung { rung, engine: Engine::Apple, .. }) = network.rung() {
            launch.rung = Some(rung.name.to_owned());
        }
        check_average(&settings, &network)?;
        launch.tokenizer = tokenizer.as_ref().map(Tokenizer::fingerprint).or(launch.tokenizer);

        let folder = claim.take()?;
        publish(&folder, &metadata, &network, tokenizer.as_ref())?;
        let lock = claim.into_lock();
        let state = first_state(&settings, &corpus, launch);
        let network = Arc::new(network);
        let graph = StepGraph::new(Arc::clone(&network), settings.windows())?;
        let programs = u32::try_from(network.kernels.programs()).unwrap_or(u32::MAX);
        let n = network.params.trained_count();
        let step = resumed.as_ref().map_or(0, |r| r.checkpoint.state.step);
        let mut parts = Parts {
            metrics: Metrics::open(&folder.metrics(), step)?,
            budget: network.device().compiles_left().map(|left| left.saturating_add(programs)),
            lengths: tokenizer.as_ref().map(Tokenizer::text_lengths),
            ends: metadata.ends().to_vec(),
            has_model: resumed.as_ref().is_some_and(|r| r.has_model),
            folder,
            settings,
            state,
            network,
            graph,
            corpus,
            tokenizer,
            optimizer: OptimizerState::default(),
            average: Average::default(),
            lock,
            before: resumed.as_ref().map(|r| r.before.clone()),
        };
        match resumed {
            Some(resumed) => parts.resume(resumed)?,
            None => parts.optimizer = OptimizerState::new(n),
        }
        parts.network.set_loss_scale(parts.state.loss_scale);
        Ok(Run::assemble(parts))
    }
}

/// Converts events of compiling to notices.
fn progress<'a>(
    cfg: &ModelConfig,
    notice: &'a mut (dyn FnMut(Notice<'_>) + Send),
) -> impl FnMut(CompileEvent<'_>) + use<'a> {
    let total = cfg.layers;
    notice(Notice::Compiling { done: 0, total });
    move |event| {
        notice(match event {
            CompileEvent::Layers(done) => Notice::Compiling { done, total },
            event => Notice::Kernels(event),
        });
    }
}

impl Parts {
    /// Restores state and moments from a checkpoint.
    fn resume(&mut self, resumed: Resumed) -> Result<(), RunError> {
        let Resumed { checkpoint, is_newest, .. } = resumed;
        if is_newest {
            // The process that wrote it may have been killed before this.
            self.folder.prune(checkpoint.state.step)?;
        }
        let launch = std::mem::take(&mut self.state.launch);
        self.state = TrainState { launch, ..checkpoint.state };
        self.state.loss_scale = match self.settings.loss_scale {
            LossScale::Fixed(scale) => scale,
            LossScale::Auto => self.state.loss_scale.min(LossScaler::MOST),
        };
        if self.before.as_ref().is_some_and(|before| before.loss_scale != self.settings.loss_scale) {
            (self.state.good_steps, self.state.idle_steps) = (0, Some(0));
        }
        self.optimizer = OptimizerState::from_moments(checkpoint.m, checkpoint.v);
        self.average = Average::new(checkpoint.average.filter(|_| self.settings.ema > 0.0));
        // A process may have been killed between a validation and the checkpoint.
        if let Some(last) = self.metrics.validations().last() {
            self.state.last_val = Some(last.loss);
            self.state.best_val = self.metrics.validations().iter().map(|v| v.loss).reduce(f64::min);
        }
        Ok(())
    }
}

/// Writes the model's metadata. In folders of earlier versions the rows of query and key projections have another order:
/// their weights are removed first and written again, so that metadata and weights never disagree.
fn publish(
    folder: &RunFolder,
    metadata: &FolderMetadata,
    network: &Network,
    tokenizer: Option<&Tokenizer>,
) -> Result<(), RunError> {
    let path = folder.model();
    let is_old = path.exists() && ModelConfig::read(&folder.config())?.rope.kind == RopeKind::Interleaved;
    if is_old {
        std::fs::remove_file(&path).map_err(TrainError::io("remove", &path))?;
    }
    folder.save_metadata(metadata, &network.cfg, tokenizer)?;
    if is_old {
        let theta = network.params.theta.read().map_err(StepError::from)?;
        save_model(&path, &network.cfg, &theta)?;
    }
    Ok(())
}

/// Keeps the time that a chat template tells, and the template if it is not the model's own.
fn remember(template: Option<ChosenTemplate>, launch: &mut Launch, metadata: &mut FolderMetadata) {
    let Some(chosen) = template else { return };
    launch.template_time = chosen.time.or(launch.template_time);
    if chosen.is_other {
        metadata.set_chat_template(chosen.template.text());
    }
}

/// Refuses an average of weights where each change of weights is compiled: it takes their place for each validation.
fn check_average(settings: &Settings, network: &Network) -> Result<(), RunError> {
    let compiles = network.device().compiles_left().is_some() && network.kernels.programs_with_weights() > 0;
    match settings.ema > 0.0 && compiles {
        true => Err(RunError::Setting {
            what: "`--ema`",
            got: format!("{} on an engine that compiles programs anew for other weights", settings.ema),
            want: "used with `--weights dynamic`",
        }),
        false => Ok(()),
    }
}

/// The state of a run before its first step.
fn first_state(settings: &Settings, corpus: &Corpus, launch: Launch) -> TrainState {
    TrainState {
        step: 0,
        seed: settings.seed,
        loss_scale: settings.loss_scale.first(),
        good_steps: 0,
        idle_steps: Some(0),
        tokens_seen: 0,
        last_val: None,
        best_val: None,
        data: corpus.mark(),
        settings: serde_json::Value::Null,
        launch,
        measured: true,
    }
}
