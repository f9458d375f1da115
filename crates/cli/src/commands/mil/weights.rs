//! Weight files of a program: their locations and contents, read completely only if needed.

use crate::error::CommandError;
use mil::blob::{BlobError, Record};
use mil::diff::{Digest, Digester};
use mil::ir::{ArgValue, Literal, LiteralData};
use mil::{Function, TensorType, Weights, bytes};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The prefix of paths in a program.
const MODEL_PATH: &str = "@model_path/";

/// What is known of records of another type than the constant's.
/// Source: maderix/h3.c-ane, whose int8 data are under the type of fp16.
pub const OTHER_TYPE: &str = "an M4 read such weights as the program says, handed over in memory";

/// The weight files that a program's paths name.
#[derive(Debug)]
pub struct Folder {
    /// The folder of `@model_path`.
    model: PathBuf,
    /// The folder passed by the user.
    given: Option<PathBuf>,
    files: HashMap<String, Option<(File, u64)>>,
}

/// Why a weight could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// There is no such file.
    #[error("weight file `{path}` is not there: {looked} does not exist")]
    Absent { path: String, looked: String },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("weight file `{path}` cannot be read: {source}")]
    Io { path: String, source: io::Error },
}

impl WeightError {
    /// The remedy.
    pub fn hint(&self) -> &'static str {
        match self {
            WeightError::Absent { .. } => "Pass the folder of the weight files with `--weights DIR`.",
            WeightError::Blob(blob) => blob.hint().unwrap_or("Check that the weights belong to the program."),
            WeightError::Io { .. } => "Check the file.",
        }
    }
}

impl From<WeightError> for CommandError {
    fn from(error: WeightError) -> CommandError {
        CommandError::input(error.to_string(), error.hint())
    }
}

impl Folder {
    /// The weight files of a program in folder `model`; if `given`, they are there, with or without the folders that
    /// their paths name.
    pub fn new(model: &Path, given: Option<&Path>) -> Folder {
        Folder { model: model.to_owned(), given: given.map(Path::to_owned), files: HashMap::new() }
    }

    /// Where the file that the program calls `path` may be.
    fn places(&self, path: &str) -> Vec<PathBuf> {
        let below = path.strip_prefix(MODEL_PATH).unwrap_or(path);
        match &self.given {
            None => vec![self.model.join(below)],
            Some(given) => {
                let name = Path::new(below).file_name().map(|name| given.join(name));
                std::iter::once(given.join(below)).chain(name).collect()
            }
        }
    }

    /// The file that the program calls `path`, and its length; opened once.
    fn file(&mut self, path: &str) -> Result<(&mut File, u64), WeightError> {
        if !self.files.contains_key(path) {
            let mut opened = None;
            // Devices and pipes are no weight files, and some never end.
            if let Some(place) = self.places(path).into_iter().find(|p| p.is_file()) {
                let io = |source| WeightError::Io { path: place.display().to_string(), source };
                let file = File::open(&place).map_err(io)?;
                let length = file.metadata().map_err(io)?.len();
                opened = Some((file, length));
            }
            self.files.insert(path.to_owned(), opened);
        }
        let places = self.places(path);
        match self.files.get_mut(path) {
            Some(Some((file, length))) => Ok((file, *length)),
            _ => {
                let looked: Vec<String> = places.iter().map(|p| format!("`{}`", p.display())).collect();
                Err(WeightError::Absent { path: path.to_owned(), looked: looked.join(" or ") })
            }
        }
    }

    /// The whole file that the program calls `path`, from its beginning.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn whole(&mut self, path: &str) -> Result<io::Take<&mut File>, WeightError> {
        let (file, length) = self.file(path)?;
        let io = |source| WeightError::Io { path: path.to_owned(), source };
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        Ok(file.take(length))
    }

    /// The record at `offset` of the file that the program calls `path`, its elements unread.
    ///
    /// # Errors
    /// If there is no such file, or no valid record there.
    pub fn record(&mut self, path: &str, offset: u64) -> Result<Record, WeightError> {
        let (file, length) = self.file(path)?;
        Record::read(path, length, offset, |at| {
            let mut chunk = [0; 64];
            let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut chunk));
            read.map_err(|source| WeightError::Io { path: path.to_owned(), source })?;
            Ok(chunk)
        })
    }

    /// The same, if it holds a tensor of type `ty`.
    ///
    /// # Errors
    /// As [`Folder::record`], and if it does not.
    pub fn check(&mut self, path: &str, offset: u64, ty: &TensorType) -> Result<Record, WeightError> {
        let record = self.record(path, offset)?;
        record.check(path, offset, ty)?;
        Ok(record)
    }

    /// What is wrong with the record's type alone: its bytes are as many as a tensor of type `ty` takes. Engines that are given
    /// the file read the bytes as the program says.
    ///
    /// # Errors
    /// As [`Folder::check`], for all that is wrong besides.
    pub fn other_type(
        &mut self,
        path: &str,
        offset: u64,
        ty: &TensorType,
    ) -> Result<Option<BlobError>, WeightError> {
        let record = self.record(path, offset)?;
        match record.check(path, offset, ty) {
            Ok(()) => Ok(None),
            Err(error @ BlobError::ElementType { .. }) => {
                let want = bytes::packed_size(ty.dtype, ty.elements()).map(|n| n as u64);
                let fits = want == Some(record.bytes.end - record.bytes.start);
                if fits { Ok(Some(error)) } else { Err(error.into()) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The digest of the elements whose record is there.
    ///
    /// # Errors
    /// As [`Folder::record`].
    pub fn digest(&mut self, path: &str, offset: u64) -> Result<Digest, WeightError> {
        let bytes = self.record(path, offset)?.bytes;
        let (file, _) = self.file(path)?;
        let io = |source| WeightError::Io { path: path.to_owned(), source };
        file.seek(SeekFrom::Start(bytes.start)).map_err(io)?;
        let mut rest = file.take(bytes.end - bytes.start);
        let (mut digester, mut chunk) = (Digester::new(), vec![0; 1 << 16]);
        loop {
            match rest.read(&mut chunk).map_err(io)? {
                0 => return Ok(digester.finish()),
                n => digester.update(&chunk[..n]),
            }
        }
    }

    /// Every weight file that `functions` name, whole; each record they name has been checked.
    ///
    /// # Errors
    /// If a file is not there, or does not hold what the functions say.
    pub fn load(&mut self, functions: &[Function]) -> Result<Weights, WeightError> {
        // Before gigabytes are read.
        for (path, offset, ty) in functions.iter().flat_map(blobs) {
            self.check(path, offset, ty)?;
        }
        self.whole_files(functions)
    }

    /// The same for an engine that is given the files; a record of another type whose bytes fit is only told of.
    ///
    /// # Errors
    /// As [`Folder::load`], but for such records.
    pub fn load_in_memory(
        &mut self,
        functions: &[Function],
        mut tell: impl FnMut(BlobError),
    ) -> Result<Weights, WeightError> {
        for (path, offset, ty) in functions.iter().flat_map(blobs) {
            self.other_type(path, offset, ty)?.into_iter().for_each(&mut tell);
        }
        self.whole_files(functions)
    }

    fn whole_files(&mut self, functions: &[Function]) -> Result<Weights, WeightError> {
        let blobs: Vec<_> = functions.iter().flat_map(blobs).collect();
        let mut paths: Vec<&str> = blobs.iter().map(|(path, ..)| *path).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut weights = Weights::new();
        for path in paths {
            let (file, length) = self.file(path)?;
            let io = |source| WeightError::Io { path: path.to_owned(), source };
            let mut bytes = Vec::new();
            let room = usize::try_from(length).is_ok_and(|n| bytes.try_reserve_exact(n).is_ok());
            if !room {
                return Err(io(io::ErrorKind::OutOfMemory.into()));
            }
            file.seek(SeekFrom::Start(0))
                .and_then(|_| file.take(length).read_to_end(&mut bytes))
                .map_err(io)?;
            weights.insert(path, bytes);
        }
        Ok(weights)
    }
}

/// Path, offset and type of every literal of `function` that is in a weight file.
fn blobs(function: &Function) -> impl Iterator<Item = (&str, u64, &TensorType)> {
    function.operations().flat_map(|op| &op.args).filter_map(|arg| match &arg.value {
        ArgValue::Literal(Literal { ty, data: LiteralData::Blob { path, offset } }) => {
            Some((path.as_str(), *offset, ty))
        }
        _ => None,
    })
}
