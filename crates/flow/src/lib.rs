//! One training step as a graph of tasks: who waits for whom follows from what each task reads and writes.
//!
//! A [`Graph`] collects tasks in the order a single thread would run them. Its [`Plan`] is data: it prints,
//! draws itself, and runs on a pretend clock ([`Plan::simulate`]) or on one thread a lane ([`Plan::run`]).
//! Conflicting tasks never overlap and go in declaration order, so a run leaves the same bits behind as the
//! single thread would; whatever does not conflict may overlap.
//!
//! Not in this room: the data itself (the caller owns it, behind locks that are never contended between
//! conflicting tasks), engines, and any parallelism inside a task.
//!
//! ```
//! use flow::{Graph, Lane};
//! use std::sync::Mutex;
//!
//! let (x, dx, dw) = (Mutex::new(3.0), Mutex::new(0.0), Mutex::new(0.0));
//! let mut step = Graph::<std::io::Error>::new();
//! let [at_x, at_dx, at_dw] = ["x", "dx", "dw"].map(|name| step.resource(name));
//! step.task("dx").on(Lane::Engine).reads([at_x]).writes([at_dx]).run(|| {
//!     *dx.lock().unwrap() = 2.0 * *x.lock().unwrap();
//!     Ok(())
//! });
//! step.task("dw").on(Lane::Cpu).reads([at_dx]).writes([at_dw]).run(|| {
//!     *dw.lock().unwrap() += *dx.lock().unwrap();
//!     Ok(())
//! });
//! let plan = step.plan()?;
//! assert_eq!(plan.to_string(), "engine  dx\ncpu     dw  waits for dx (dx: read after write)\n");
//! plan.run()?;
//! plan.run()?;
//! assert_eq!(*dw.lock().unwrap(), 12.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod chrome; //   spans → trace-event JSON
mod error; //    what can go wrong
mod graph; //    declarations: resources and tasks
mod hazard; //   declarations → who waits for whom
mod lane; //     the three queues
mod plan; //     the ordered graph, as text and as DOT
mod run; //      the plan on threads
mod schedule; // the plan on a pretend clock
mod trace; //    what a run did when

pub use error::{GraphError, RunError};
pub use graph::{Graph, Resource, TaskBuilder};
pub use hazard::{Hazard, Wait};
pub use lane::Lane;
pub use plan::{Plan, TaskInfo};
pub use schedule::Schedule;
pub use trace::{Span, Trace};
