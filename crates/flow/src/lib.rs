//! Task graphs whose dependencies follow from the declared reads and writes of each task.
//!
//! An [`Arena`] declares memory, each cell once. A [`Graph`] collects tasks in the order in which a single thread would
//! run them; a task declares the cells that it reads and writes, and gets guards of these and of nothing else. The
//! [`Plan`] of a graph is data: it prints, and it runs on one thread per lane ([`Plan::run`]), also on
//! threads of the caller ([`Plan::run_on`]). Tasks that conflict never
//! overlap and run in declaration order, so a run produces the same bits as sequential execution; independent tasks may
//! overlap.
//!
//! Not in this crate: what a task computes, engines, and any parallelism inside a task.
//!
//! ```
//! use flow::{Arena, Graph, Lane};
//!
//! let mut arena = Arena::new();
//! let [x, dx, dw] = [("x", 3.0), ("dx", 0.0), ("dw", 0.0)].map(|(name, value)| arena.cell(name, value));
//! let mut step = Graph::<std::io::Error>::new(&arena);
//! step.task("dx").on(Lane::Engine).reads(x).writes(dx.clone()).run(|x, mut dx| {
//!     *dx = 2.0 * *x;
//!     Ok(())
//! });
//! step.task("dw").on(Lane::Cpu).reads(dx).writes(dw.update()).run(|dx, mut dw| {
//!     *dw += *dx;
//!     Ok(())
//! });
//! let plan = step.plan()?;
//! assert_eq!(plan.to_string(), "engine  dx\ncpu     dw  waits for dx (dx: read after write)\n");
//! plan.run()?;
//! plan.run()?;
//! assert_eq!(*dw.read()?, 12.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod access; // declarations and guards
mod arena; //  memory as typed handles
mod chrome; // spans → trace-event JSON
mod error; //  error types
mod graph; //  the builder
mod hazard; // declarations → dependencies
mod lane; //   the queues
mod plan; //   the ordered graph, as text
mod run; //    the plan on threads
mod task; //   task metadata
mod trace; //  timings of runs

pub use access::{Declaration, List, ListMut, Permit, Read, Write};
pub use arena::{Arena, Handle, Resource, Update};
pub use error::{AccessError, GraphError, RunError, TaskError};
pub use graph::{Graph, TaskBuilder};
pub use lane::Lane;
pub use plan::Plan;
pub use run::Start;
pub use task::{Hazard, TaskInfo, Wait, Work};
pub use trace::{Span, Trace};
