//! Texts of all requests, written together: new prompts are read between the steps of those under way.

use crate::model::{Piece, Reading, Refusal, TextOptions, Writer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// A text that is wanted.
pub(crate) struct Job {
    pub(crate) prompt: Vec<u32>,
    pub(crate) options: TextOptions,
    /// Its number within the request.
    pub(crate) index: usize,
    pub(crate) to: UnboundedSender<(usize, Event)>,
    /// When it is broken off.
    pub(crate) deadline: Instant,
}

/// What a request gets of one of its texts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Piece(Piece),
    /// The text is over.
    Failed(Refusal),
    /// Its time is over.
    Late,
}

/// The way to the engine's thread.
#[derive(Clone)]
pub(crate) struct Queue {
    jobs: Sender<Job>,
    load: Arc<Load>,
}

/// How much there is to do.
struct Load {
    /// Texts that were taken and have not ended.
    texts: AtomicUsize,
    /// The most of them.
    most: usize,
    /// Texts that are written together.
    slots: usize,
    /// The mean time of a text, in milliseconds.
    mean: AtomicU64,
}

/// The queue has no room: texts under way, and seconds until there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) texts: usize,
    pub(crate) seconds: u64,
}

impl Queue {
    /// The most texts that a request can have.
    pub(crate) fn most(&self) -> usize {
        self.load.most
    }

    /// Texts under way, and those that wait.
    pub(crate) fn texts(&self) -> usize {
        self.load.texts.load(SeqCst)
    }

    /// Queues the texts of a request, all or none; whether the engine's thread takes them.
    pub(crate) fn put(&self, jobs: Vec<Job>) -> Result<bool, Full> {
        let load = &self.load;
        let taken = load.texts.fetch_update(SeqCst, SeqCst, |texts| {
            Some(texts + jobs.len()).filter(|&after| after <= load.most)
        });
        if let Err(texts) = taken {
            let mean = load.mean.load(SeqCst) as f64 / 1000.0;
            let seconds = (mean * texts as f64 / load.slots as f64).ceil().clamp(1.0, 60.0) as u64;
            return Err(Full { texts, seconds });
        }
        Ok(jobs.into_iter().all(|job| self.jobs.send(job).is_ok()))
    }
}

/// A queue for `slots` texts at once and `waiting` more, and the jobs that come out of it.
pub(crate) fn queue(slots: usize, waiting: usize) -> (Queue, Batch) {
    let (to, jobs) = std::sync::mpsc::channel();
    let (texts, mean) = (AtomicUsize::new(0), AtomicU64::new(1000));
    let load = Arc::new(Load { texts, most: slots + waiting, slots, mean });
    (Queue { jobs: to, load: Arc::clone(&load) }, Batch { jobs, load })
}

/// The engine's side of the queue.
pub(crate) struct Batch {
    jobs: Receiver<Job>,
    load: Arc<Load>,
}

/// A text under way.
struct Active<T> {
    text: T,
    /// Whether its prompt is read.
    is_read: bool,
    index: usize,
    to: UnboundedSender<(usize, Event)>,
    deadline: Instant,
    began: Instant,
    is_over: bool,
}

impl Batch {
    /// Writes texts until there are no more and nobody is left who could ask for one.
    pub(crate) fn run<W: Writer>(self, mut writer: W) {
        let mut waiting: VecDeque<Job> = VecDeque::new();
        let mut active: Vec<Active<W::Text>> = Vec::new();
        loop {
            if !self.take(&mut waiting, active.is_empty()) && waiting.is_empty() && active.is_empty() {
                return;
            }
            self.drop_unwanted(&mut waiting);
            self.begin(&mut writer, &mut waiting, &mut active);
            read_one(&mut writer, &mut active);
            write_all(&mut writer, &mut active);
            self.remove_ended(&mut writer, &mut active);
        }
    }

    /// Takes what has come; waits for it if there is nothing else to do. Whether there may come more.
    fn take(&self, waiting: &mut VecDeque<Job>, is_idle: bool) -> bool {
        if is_idle && waiting.is_empty() {
            match self.jobs.recv() {
                Ok(job) => waiting.push_back(job),
                Err(_) => return false,
            }
        }
        loop {
            match self.jobs.try_recv() {
                Ok(job) => waiting.push_back(job),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn done(&self, count: usize) {
        self.load.texts.fetch_sub(count, SeqCst);
    }

    /// Forgets waiting texts that nobody wants any longer, or whose time is over.
    fn drop_unwanted(&self, waiting: &mut VecDeque<Job>) {
        let (before, now) = (waiting.len(), Instant::now());
        waiting.retain(|job| !is_unwanted(&job.to, (job.index, job.deadline), now));
        self.done(before - waiting.len());
    }

    /// Begins waiting texts, as many as there are slots for.
    fn begin<W: Writer>(
        &self,
        writer: &mut W,
        waiting: &mut VecDeque<Job>,
        active: &mut Vec<Active<W::Text>>,
    ) {
        while active.len() < self.load.slots
            && let Some(Job { prompt, options, index, to, deadline }) = waiting.pop_front()
        {
            match writer.begin(prompt, options) {
                Ok(text) => {
                    let began = Instant::now();
                    active.push(Active { text, is_read: false, index, to, deadline, began, is_over: false });
                }
                Err(refusal) => {
                    let _ = to.send((index, Event::Failed(refusal)));
                    self.done(1);
                }
            }
        }
    }

    /// Removes texts that have ended, that nobody wants any longer, or whose time is over.
    fn remove_ended<W: Writer>(&self, writer: &mut W, active: &mut Vec<Active<W::Text>>) {
        let now = Instant::now();
        let over = |a: &mut Active<W::Text>| a.is_over || is_unwanted(&a.to, (a.index, a.deadline), now);
        for ended in active.extract_if(.., over) {
            let took = ended.began.elapsed();
            writer.end(ended.text);
            self.note_time(took);
            self.done(1);
        }
    }

    fn note_time(&self, took: Duration) {
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mean = self.load.mean.load(SeqCst);
        self.load.mean.store((mean.saturating_mul(7).saturating_add(took)) / 8, SeqCst);
    }
}

/// Whether nobody takes the text, or its time is over, which is said then.
fn is_unwanted(
    to: &UnboundedSender<(usize, Event)>,
    (index, deadline): (usize, Instant),
    now: Instant,
) -> bool {
    if now >= deadline {
        let _ = to.send((index, Event::Late));
        return true;
    }
    to.is_closed()
}

/// Reads a part of the prompt of the first text that has more to read.
fn read_one<W: Writer>(writer: &mut W, active: &mut [Active<W::Text>]) {
    let Some(next) = active.iter_mut().find(|a| !a.is_read && !a.to.is_closed()) else { return };
    match writer.read(&mut next.text) {
        Ok(Reading::More) => {}
        Ok(Reading::First(piece)) => {
            next.is_read = true;
            next.give(Ok(piece));
        }
        Err(refusal) => next.give(Err(refusal)),
    }
}

/// Adds a token to each text whose prompt is read.
fn write_all<W: Writer>(writer: &mut W, active: &mut [Active<W::Text>]) {
    let now = Instant::now();
    let ready = |a: &&mut Active<W::Text>| a.is_read && !a.is_over && !a.to.is_closed() && now < a.deadline;
    let mut texts: Vec<&mut Active<W::Text>> = active.iter_mut().filter(ready).collect();
    if texts.is_empty() {
        return;
    }
    let mut inner: Vec<&mut W::Text> = texts.iter_mut().map(|a| &mut a.text).collect();
    let pieces = writer.write(&mut inner);
    for (text, piece) in texts.into_iter().zip(pieces) {
        text.give(piece);
    }
}

impl<T> Active<T> {
    fn give(&mut self, piece: Result<Piece, Refusal>) {
        self.is_over = piece.as_ref().map_or(true, |piece| piece.finish.is_some());
        let event = match piece {
            Ok(piece) => Event::Piece(piece),
            Err(refusal) => Event::Failed(refusal),
        };
        // Nobody takes it: `remove_ended` sees that.
        let _ = self.to.send((self.index, event));
    }
}
