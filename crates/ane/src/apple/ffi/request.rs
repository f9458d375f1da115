//! Surfaces bound to a program.

use super::framework::Framework;
use super::functions::IoSurface;
use super::iosurface::Held;
use objc2::msg_send;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::AnyObject;
use objc2_foundation::{NSArray, NSNumber};

/// A request; it can be evaluated any number of times on its surfaces.
#[derive(Debug)]
pub(super) struct Request {
    object: Retained<AnyObject>,
    /// The surfaces, inputs first; kept alive so that their addresses are not reused.
    surfaces: Vec<Retained<AnyObject>>,
    inputs: usize,
}

// SAFETY: the objects are counted atomically; requests and surface objects are never changed once they are made.
unsafe impl Send for Request {}

impl Request {
    /// Binds surfaces in the engine's binding order; `None` if the framework refuses.
    pub(super) fn new(framework: &Framework, inputs: &[&dyn Held], outputs: &[&dyn Held]) -> Option<Request> {
        autoreleasepool(|_| {
            let side = |surfaces: &[&dyn Held]| -> Option<_> {
                let wrapped: Vec<Retained<AnyObject>> =
                    surfaces.iter().map(|held| wrap(framework, held.surface())).collect::<Option<_>>()?;
                let indices: Vec<Retained<NSNumber>> = (0..surfaces.len()).map(NSNumber::new_usize).collect();
                Some((NSArray::from_retained_slice(&wrapped), NSArray::from_retained_slice(&indices)))
            };
            let ((from, from_indices), (to, to_indices)) = (side(inputs)?, side(outputs)?);
            let procedure = NSNumber::new_i32(0);
            // SAFETY: the class method was compared: seven objects, of which weights and statistics may be nil.
            let object: Option<Retained<AnyObject>> = unsafe {
                msg_send![
                    framework.request,
                    requestWithInputs: &*from,
                    inputIndices: &*from_indices,
                    outputs: &*to,
                    outputIndices: &*to_indices,
                    weightsBuffer: None::<&AnyObject>,
                    perfStats: None::<&AnyObject>,
                    procedureIndex: &*procedure
                ]
            };
            let surfaces = inputs.iter().chain(outputs).map(|held| held.surface().clone()).collect();
            Some(Request { object: object?, surfaces, inputs: inputs.len() })
        })
    }

    /// The request.
    pub(super) fn object(&self) -> &AnyObject {
        &self.object
    }

    /// Whether it binds exactly these surfaces.
    pub(super) fn binds(&self, inputs: &[&dyn Held], outputs: &[&dyn Held]) -> bool {
        let same = |(ours, theirs): (&Retained<AnyObject>, &&dyn Held)| {
            Retained::as_ptr(ours) == Retained::as_ptr(theirs.surface())
        };
        self.inputs == inputs.len()
            && self.surfaces.len() == inputs.len() + outputs.len()
            && self.surfaces.iter().zip(inputs.iter().chain(outputs)).all(same)
    }
}

/// A surface object for requests.
fn wrap(framework: &Framework, surface: &Retained<AnyObject>) -> Option<Retained<AnyObject>> {
    let surface: *mut IoSurface = Retained::as_ptr(surface).cast_mut().cast();
    // SAFETY: the class method was compared; the surface is alive, and the object that is returned keeps it so.
    unsafe { msg_send![framework.surface, objectWithIOSurface: surface] }
}
