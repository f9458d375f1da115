//! A process of a run: it opens the run, takes steps, and finishes it or hands over to the next process.

use super::args::TrainArgs;
use super::end::{diverged, draw, has_held_out, interrupted, is_finished, report, sample, warn_of_loss};
use super::folder::choose_folder;
use crate::error::CommandError;
use crate::header;
use crate::interrupt::Interrupt;
use crate::ladder::Ladder;
use crate::output::print_json;
use crate::progress::Progress;
use crate::report::Work;
use crate::restart::ResumeState;
use crate::timestamp::Timestamp;
use crate::traces::Traces;
use crate::ui::{Ui, resume_command};
use std::path::{Path, PathBuf};
use std::time::Duration;
use train::data::Source;
use train::run::{BudgetExhausted, Notice, Options, Overrides, Run, RunError, Saved, Validation, model_name};

/// The default model.
const MODEL: &str = "shakespeare";
/// Windows of a validation during the run.
const VALIDATION: usize = 32;
/// Windows of the last validation: all, unless there are very many.
const FINAL_VALIDATION: usize = 4096;
/// How often another folder is chosen after another process has claimed the chosen one.
const TRIES: usize = 20;

/// The outcome of a process.
pub enum Outcome {
    /// The run is complete.
    Done,
    /// The compile budget is exhausted: the run continues in a new process.
    Restart(Box<ResumeState>),
}

/// A process of a run.
pub struct Session<'a> {
    ui: &'a Ui,
    args: &'a TrainArgs,
    interrupt: &'a Interrupt,
    /// The state from the previous process, if there was one.
    before: Option<ResumeState>,
    options: Options,
    traces: Traces<'a>,
    progress: Progress<'a>,
    work: Work,
    began: Timestamp,
    /// Whether the run began with the built-in text.
    bundled: bool,
}

impl<'a> Session<'a> {
    /// Checks the arguments and chooses the folder, before the run is opened.
    ///
    /// # Errors
    /// If the folder of the run or of a trace cannot be used.
    pub fn new(
        ui: &'a Ui,
        args: &'a TrainArgs,
        interrupt: &'a Interrupt,
        before: Option<ResumeState>,
    ) -> Result<Session<'a>, CommandError> {
        let options = options(ui, args, before.as_ref())?;
        let bundled =
            before.as_ref().map_or(options.data.is_none() && !options.resume, |before| before.bundled);
        Ok(Session {
            ui,
            args,
            interrupt,
            traces: Traces::new(args.trace.as_deref(), args.trace_steps)?,
            progress: Progress::new(ui),
            work: before.as_ref().map(|before| before.work.clone()).unwrap_or_default(),
            began: before.as_ref().map_or_else(Timestamp::now, |before| before.began),
            before,
            options,
            bundled,
        })
    }

    /// Trains until the run is done or this process's compile budget is exhausted.
    ///
    /// # Errors
    /// If the run fails, has diverged, or was interrupted.
    pub fn run(mut self) -> Result<Outcome, CommandError> {
        let mut run = match self.open()? {
            Ok(run) => run,
            Err(next) => return Ok(Outcome::Restart(next)),
        };
        if !self.begin(&mut run)? {
            return Ok(Outcome::Done);
        }
        self.interrupt.guard();
        self.take_steps(&mut run)?;
        let left = Timestamp::now();
        self.progress.busy("saving");
        run.save_last().map_err(|e| diverged(e, &run))?;
        self.traces.write()?;
        if self.interrupt.release() && (run.exhausted().is_some() || !run.is_done()) {
            self.progress.clear();
            draw(&run)?;
            return Err(interrupted(&self.options.out, run.step_count(), run.settings().steps));
        }
        if let Some(exhausted) = run.exhausted() {
            return self.hand_over(&run, exhausted, left).map(|next| Outcome::Restart(next.into()));
        }
        if let (Some(time), false) = (self.args.max_time, run.is_done()) {
            self.progress.clear();
            self.ui.say(format!(
                "stopped after step {} of {} by `--max-time {}`; go on with `{}`",
                run.step_count(),
                run.settings().steps,
                humantime::format_duration(time).to_string().replace(' ', ""),
                resume_command(&self.options.out)
            ));
        }
        self.finish(run)?;
        Ok(Outcome::Done)
    }

    /// Opens the run. Returns the state for a new process if an engine's refusal may not repeat there.
    fn open(&mut self) -> Result<Result<Run, Box<ResumeState>>, CommandError> {
        let ladder = Ladder::here();
        let silent = self.before.is_some() && !self.ui.is_watched();
        let mut tries = 0;
        loop {
            let opened = Run::open_with_rung(&self.options, ladder.known(), &mut |notice| match notice {
                Notice::Kernels(event) => ladder.report(self.ui, event),
                notice if !silent || matches!(notice, Notice::Warning(_)) => self.progress.notice(notice),
                _ => {}
            });
            self.progress.clear();
            return match (opened, &self.before) {
                (Ok(run), _) => Ok(Ok(run)),
                // Another process has claimed the chosen folder.
                (Err(RunError::Busy { .. } | RunError::Occupied { .. }), None)
                    if self.args.out.is_none() && !self.args.resume && tries < TRIES =>
                {
                    tries += 1;
                    self.options.out = folder_of(self.ui, self.args)?;
                    continue;
                }
                (Err(e), Some(before)) if e.is_retryable() => {
                    if self.interrupt.release() {
                        return Err(interrupted(&self.options.out, before.step, before.steps));
                    }
                    before.clone().again(&self.options.out, e.into()).map(|next| Err(next.into()))
                }
                (Err(e), _) => Err(e.into()),
            };
        }
    }

    /// Prints the header, or continues the display of the previous process; returns whether anything is left to do.
    fn begin(&mut self, run: &mut Run) -> Result<bool, CommandError> {
        let steps = run.settings().steps;
        if let Some(before) = &self.before {
            let took = before.left.elapsed();
            self.work.restart_s += took;
            run.note_restart(Duration::from_secs_f64(took));
            self.progress.go_on(&before.pace, run.step_count(), steps);
            return Ok(true);
        }
        header::say(self.ui, run.name(), &self.options, run);
        if run.is_done() && is_finished(run, FINAL_VALIDATION)? {
            self.ui.say(format!("all {steps} steps are done; for more, give --steps"));
            return Ok(false);
        }
        if run.is_done() {
            self.ui.say(format!("all {steps} steps are done; writing missing results"));
        }
        self.progress.start(run.step_count(), steps);
        Ok(true)
    }

    /// Takes steps, validates and saves until the run is done or interrupted, or the compile budget is exhausted.
    fn take_steps(&mut self, run: &mut Run) -> Result<(), CommandError> {
        while run.exhausted().is_none() && !self.interrupt.asked() && !self.is_late() {
            // These may be due from the last step of the previous process.
            if run.validation_due() && !run.is_done() {
                self.progress.busy("validating");
                let validation = run.validate(VALIDATION);
                self.progress.validation(&validation.map_err(|e| diverged(e, run))?);
            }
            if run.save_due() {
                self.progress.busy("saving");
                // After the last step `save_last` reports it as an error.
                if let Saved::Withheld(unfit) = run.save()?
                    && !run.is_done()
                {
                    self.ui.say(format!("step {}: no checkpoint, as {unfit}", run.step_count()));
                }
            }
            if run.is_done() {
                break;
            }
            let record = run.step().map_err(|e| diverged(e, run))?;
            self.work.add(&record, run.last_tokens());
            self.traces.add(run.trace());
            self.progress.step(&record);
        }
        Ok(())
    }

    /// Whether `--max-time` is over; never before the first step.
    fn is_late(&self) -> bool {
        self.work.steps > 0
            && self.args.max_time.is_some_and(|time| self.began.elapsed() >= time.as_secs_f64())
    }

    /// The state for the next process.
    fn hand_over(
        mut self,
        run: &Run,
        exhausted: &BudgetExhausted,
        left: Timestamp,
    ) -> Result<ResumeState, CommandError> {
        ResumeState::check_progress(self.before.as_ref(), run.step_count())?;
        self.progress.clear();
        if let (BudgetExhausted::Refused { message }, 0) = (exhausted, self.work.restarts) {
            self.ui.say(format!("{message}; the run continues in a new process"));
        }
        self.work.restarts += 1;
        Ok(ResumeState {
            out: self.args.out.is_none().then(|| self.options.out.to_string_lossy().into_owned()),
            bundled: self.bundled,
            step: run.step_count(),
            steps: run.settings().steps,
            failures: 0,
            began: self.began,
            left,
            pace: self.progress.pace(),
            work: self.work,
        })
    }

    /// Validates the finished run, draws the loss chart, and writes a sample and the report.
    fn finish(mut self, mut run: Run) -> Result<(), CommandError> {
        let last = self.last_validation(&mut run)?;
        draw(&run)?;
        self.work.wall_s = self.began.elapsed();
        run.show_average()?;
        self.progress.busy("writing a sample");
        let loss = self.progress.loss();
        let sample = sample(self.ui, self.args, &run, self.bundled, || self.progress.clear())?;
        self.progress.clear();
        warn_of_loss(self.ui, &run, last.as_ref())?;
        let report = report(&run, self.work, loss, last, (sample, run.is_chat()?));
        if self.args.json {
            return print_json(self.ui, &report);
        }
        self.ui.result(&report.text(self.ui))?;
        if self.args.profile {
            self.ui.result(&format!("\n{}", report.work.profile()))?;
        }
        Ok(())
    }

    /// The validation after the last step, if there are data for it.
    fn last_validation(&mut self, run: &mut Run) -> Result<Option<Validation>, CommandError> {
        if !has_held_out(run) {
            return Ok(None);
        }
        self.progress.busy("validating");
        let validation = match run.validation(FINAL_VALIDATION).filter(|made| made.loss.is_finite()) {
            Some(made) => made,
            None => run.validate(FINAL_VALIDATION).map_err(|e| diverged(e, run))?,
        };
        self.progress.validation(&validation);
        Ok(Some(validation))
    }
}

/// The default folder.
fn folder_of(ui: &Ui, args: &TrainArgs) -> Result<PathBuf, CommandError> {
    choose_folder(ui, &model_name(args.model.as_deref(), Path::new(MODEL)), args.resume)
}

/// The options to open the run with.
fn options(ui: &Ui, args: &TrainArgs, before: Option<&ResumeState>) -> Result<Options, CommandError> {
    let out = match (before, &args.out) {
        (Some(before), out) => before.folder(out.as_deref()),
        (None, Some(out)) => out.clone(),
        (None, None) => folder_of(ui, args)?,
    };
    // The run's folder has its model, and its text as tokens.
    let (mut model, mut data) = (args.model.clone(), args.data.clone());
    if before.is_some() {
        model = None;
        data = data.filter(|path| !matches!(Source::open(path), Ok(Source::Text(_) | Source::Examples(_))));
    }
    if let Some(model) = model.as_deref().filter(|_| !args.resume) {
        crate::unread::note(ui, Path::new(model));
    }
    Ok(Options {
        model,
        data,
        examples: args.examples.options(args.valid.as_deref()),
        tokenizer: args.tokenizer.clone(),
        out,
        resume: args.resume || before.is_some(),
        overrides: Overrides {
            storage: args.on.given_storage(),
            math: args.on.engine.given_math(),
            // A new process keeps the plan of the previous one.
            norms: args.on.given_norms().filter(|_| before.is_none()),
            // Its model is no longer new.
            output_init: args.settings.0.output_init.filter(|_| before.is_none()),
            ..args.settings.0.clone()
        },
        threads: args.on.engine.threads,
        device: args.on.device(),
    })
}
