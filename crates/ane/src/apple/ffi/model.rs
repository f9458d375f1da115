//! A program on the engine: described, compiled, loaded, evaluated, unloaded.

use super::framework::Framework;
use crate::apple::folder::Folder;
use crate::error::{Answer, Call, DeviceError, Explain, Refusal};
use mil::Weights;
use objc2::msg_send;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyObject, Bool, NSObject};
use objc2_foundation::{NSData, NSDictionary, NSError, NSNumber, NSString, NSTemporaryDirectory};
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::Duration;

/// The default quality of service of calls; probes may set another. Source: `maderix/ANE` uses 21; rule W8 recommends no
/// other value.
const QOS: u32 = 21;

/// The pause before a refused load is retried once, so that slots of unloaded programs become free.
/// Source: `maderix/ANE`, its bridge.
const LOAD_AGAIN: Duration = Duration::from_millis(100);

/// Options of calls: an empty dictionary, which must not be nil.
type Options = NSDictionary<NSString, NSObject>;

/// A loaded program. Dropping it unloads it, then removes its folder.
#[derive(Debug)]
pub(super) struct Model {
    object: Retained<AnyObject>,
    kernel: String,
    text: String,
    /// Names the rules that a refused program likely breaks.
    explain: Option<Explain>,
    loaded: bool,
    /// Quality of service of evaluations.
    quality: u32,
    /// Dropped after the object.
    folder: Folder,
}

// SAFETY: the object is counted atomically and no thread owns it. Only `&mut self` methods and `drop`
// send it messages, so one thread at a time; `maderix/ANE` compiles and evaluates on several threads.
unsafe impl Send for Model {}

impl Model {
    /// Compiles and loads `text` with `weights`.
    ///
    /// # Errors
    /// `Refused`, with the engine's error; `WeightPath` and `Folder`, if its files cannot be written. Cleans up
    /// after itself.
    pub(super) fn open(
        framework: &Framework,
        kernel: &str,
        text: String,
        weights: &Weights,
        explain: Option<Explain>,
    ) -> Result<Model, DeviceError> {
        autoreleasepool(|_| {
            let refused = |call, answer| refusal(Refusal::new(kernel, call, answer), explain, &text);
            let data = NSData::with_bytes(text.as_bytes());
            let files = dictionary(weights);
            // SAFETY: the class method was compared: three objects, the last may be nil, and it returns an object or
            // nil.
            let descriptor: Option<Retained<AnyObject>> = unsafe {
                msg_send![
                    framework.descriptor,
                    modelWithMILText: &*data,
                    weights: &*files,
                    optionsPlist: None::<&AnyObject>
                ]
            };
            let descriptor = descriptor.ok_or_else(|| refused(Call::Describe, Answer::default()))?;
            // SAFETY: the class method was compared; the descriptor is what it wants.
            let object: Option<Retained<AnyObject>> =
                unsafe { msg_send![framework.model, inMemoryModelWithDescriptor: &*descriptor] };
            let object = object.ok_or_else(|| refused(Call::Model, Answer::default()))?;
            // SAFETY: the method was compared, and the object is an instance of its class.
            let identifier: Option<Retained<AnyObject>> = unsafe { msg_send![&*object, hexStringIdentifier] };
            let identifier = identifier
                .and_then(|name| name.downcast::<NSString>().ok())
                .map(|name| name.to_string())
                .filter(|name| is_file_name(name))
                .ok_or_else(|| {
                    let text = Some("its identifier is missing or not a valid folder name".to_owned());
                    refused(Call::Model, Answer { text, ..Answer::default() })
                })?;
            let root = NSTemporaryDirectory().to_string();
            let folder = Folder::create(Path::new(&root), &identifier, kernel, &text, weights)?;
            let kernel = kernel.to_owned();
            let mut model = Model { object, kernel, text, explain, loaded: false, quality: QOS, folder };
            model.compile()?;
            model.load()?;
            Ok(model)
        })
    }

    fn compile(&mut self) -> Result<(), DeviceError> {
        let options = Options::new();
        let mut error = ptr::null_mut::<NSError>();
        // SAFETY: the method was compared; the options are an object, and `error` is a place for one.
        let done: Bool = unsafe {
            msg_send![&*self.object, compileWithQoS: QOS, options: &*options, error: &raw mut error]
        };
        self.verdict(Call::Compile, done, error)
    }

    fn load(&mut self) -> Result<(), DeviceError> {
        if self.try_load().is_err() {
            thread::sleep(LOAD_AGAIN);
            self.try_load()?;
        }
        self.loaded = true;
        Ok(())
    }

    fn try_load(&mut self) -> Result<(), DeviceError> {
        let options = Options::new();
        let mut error = ptr::null_mut::<NSError>();
        // SAFETY: as in `compile`.
        let done: Bool =
            unsafe { msg_send![&*self.object, loadWithQoS: QOS, options: &*options, error: &raw mut error] };
        self.verdict(Call::Load, done, error)
    }

    /// Unloads the program, overwrites its files with `weights`, and loads it without compiling; `false`, without a
    /// change, if others use the same files.
    ///
    /// # Errors
    /// `Folder`, if a file cannot be written; `Refused`, if the program does not load again.
    pub(super) fn reload(&mut self, weights: &Weights, compiled: bool) -> Result<bool, DeviceError> {
        if !self.folder.is_exclusive() {
            return Ok(false);
        }
        autoreleasepool(|_| {
            self.unload();
            self.folder.rewrite(&self.kernel, weights, compiled)?;
            self.load()?;
            Ok(true)
        })
    }

    /// Sets the quality of service of evaluations.
    pub(super) fn set_quality(&mut self, quality: u32) {
        self.quality = quality;
    }

    /// Unloads the program, which frees its slot on the engine.
    fn unload(&mut self) {
        let mut error = ptr::null_mut::<NSError>();
        // SAFETY: the method was compared; the program is loaded, and nothing evaluates it: `self` is borrowed mutably.
        // Errors are ignored: the system unloads the program when the process ends.
        let _: Bool = unsafe { msg_send![&*self.object, unloadWithQoS: QOS, error: &raw mut error] };
        self.loaded = false;
    }

    /// Runs once on the surfaces of `request`; returns when the outputs are written.
    ///
    /// # Errors
    /// `Refused`; the contents of the output surfaces are then undefined.
    pub(super) fn evaluate(&mut self, request: &AnyObject) -> Result<(), DeviceError> {
        if !self.loaded {
            let text = Some("it is no longer loaded".to_owned());
            let answer = Answer { text, ..Answer::default() };
            return Err(self.refusal(Call::Evaluate, answer));
        }
        autoreleasepool(|_| {
            let options = Options::new();
            let mut error = ptr::null_mut::<NSError>();
            // SAFETY: as in `compile`; the request was made by the request class for this program's surfaces.
            let done: Bool = unsafe {
                msg_send![
                    &*self.object,
                    evaluateWithQoS: self.quality,
                    options: &*options,
                    request: request,
                    error: &raw mut error
                ]
            };
            self.verdict(Call::Evaluate, done, error)
        })
    }

    /// The refusal of a request for this program.
    pub(super) fn unbound(&self) -> DeviceError {
        self.refusal(Call::Bind, Answer::default())
    }

    fn refusal(&self, call: Call, answer: Answer) -> DeviceError {
        refusal(Refusal::new(&self.kernel, call, answer), self.explain, &self.text)
    }

    /// Converts the result of a call. An error is ignored if the call reports success.
    fn verdict(&self, call: Call, done: Bool, error: *mut NSError) -> Result<(), DeviceError> {
        if done.as_bool() {
            return Ok(());
        }
        // SAFETY: the callee left null there, or an object that lives until the pool around us is emptied.
        let error = unsafe { Retained::retain(error) };
        let answer = error.map_or_else(Answer::default, |e| Answer {
            domain: Some(e.domain().to_string()),
            code: Some(e.code() as i64),
            text: Some(e.localizedDescription().to_string()),
        });
        Err(self.refusal(call, answer))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        if self.loaded {
            autoreleasepool(|_| self.unload());
        }
    }
}

fn refusal(refusal: Refusal, explain: Option<Explain>, text: &str) -> DeviceError {
    DeviceError::Refused(Box::new(refusal.explained(explain, text)))
}

/// The weight files in the descriptor's format: `{ path: { "offset": 0, "data": bytes } }`, empty if there are none.
fn dictionary(weights: &Weights) -> Retained<NSDictionary<NSString, NSObject>> {
    let keys = [NSString::from_str("offset"), NSString::from_str("data")];
    let (paths, files): (Vec<_>, Vec<Retained<NSObject>>) = weights
        .files()
        .map(|(path, bytes)| {
            let offset: Retained<NSObject> = NSNumber::new_u64(0).into_super().into_super();
            let data: Retained<NSObject> = NSData::with_bytes(bytes).into_super();
            let file = NSDictionary::from_retained_objects(&[&*keys[0], &*keys[1]], &[offset, data]);
            (NSString::from_str(path), file.into_super())
        })
        .unzip();
    let paths: Vec<&NSString> = paths.iter().map(|p| &**p).collect();
    NSDictionary::from_retained_objects(&paths, &files)
}

/// Whether `name` is a plain file name.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
