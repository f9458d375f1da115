//! Safetensors files with checksums, read one tensor at a time.
//!
//! File: u64 length of the header, the header (JSON: name, number format, shape and byte range of each tensor,
//! and text metadata), then the tensors' bytes without gaps; little-endian. Source: huggingface/safetensors.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::checksums::{self, Checksums};
use super::tensor_writer::{FloatType, KIND, NamedTensor, each_part};
use crate::error::TrainError;

/// Bytes converted at once.
const CHUNK: usize = 1 << 20;

/// The longest header that is read, which takes 17 times as much memory: those of the largest models have 2 MB.
const MAX_HEADER: u64 = 12 << 20;

/// An open safetensors file whose header agrees with its length, and with its checksum if it has one.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// Offset of the tensors' bytes.
    start: u64,
    sums: Option<Checksums>,
}

impl TensorFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::FileFormat`] if it is truncated or no safetensors file;
    /// [`TrainError::TensorDamaged`] or [`TrainError::Damaged`] if its header is not the one that was written.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let reading = || TrainError::io("read", path);
        let refused = |problem: String| TrainError::FileFormat { path: path.to_owned(), kind: KIND, problem };
        let mut file = File::open(path).map_err(reading())?;
        let bytes = file.metadata().map_err(reading())?.len();
        if bytes < 8 {
            return Err(refused(format!("it has {bytes} bytes, too few for a header")));
        }
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(reading())?;
        let length = u64::from_le_bytes(length);
        if length > bytes - 8 {
            return Err(refused(format!("its header would have {length} bytes, the file has {bytes}")));
        }
        if length > MAX_HEADER {
            return Err(refused(format!("its header has {length} bytes, at most {MAX_HEADER} are read")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(reading())?;
        let header: Metadata = serde_json::from_slice(&header)
            .map_err(|error| refused(format!("its header cannot be read: {error}")))?;
        let start = 8 + length;
        let end = start.saturating_add(header.data_len() as u64);
        if end != bytes {
            return Err(refused(format!("its tensors end at byte {end}, the file at byte {bytes}")));
        }
        let damaged = |problem: String| TrainError::Damaged { path: path.to_owned(), problem };
        let sums = header.metadata().as_ref().map(Checksums::read).transpose().map_err(damaged)?.flatten();
        let opened = Self { path: path.to_owned(), file, header, start, sums };
        if opened.sums.as_ref().is_some_and(|sums| !sums.fit(&opened.header)) {
            // If a tensor's entry has changed, the error names the tensor.
            opened.verify()?;
            return Err(damaged("its header or training state is not what was written".to_owned()));
        }
        Ok(opened)
    }

    /// Reads all tensors and verifies their checksums, if the file has any.
    ///
    /// # Errors
    /// [`TrainError::TensorDamaged`] with the first that is not what was written, or [`TrainError::Io`].
    pub fn verify(&self) -> Result<(), TrainError> {
        self.names().iter().try_for_each(|name| self.for_each_chunk(name, self.info(name)?, |_| {}))
    }

    /// Whether the file's checksums match exactly these tensors; the tensors in the file are not read.
    pub(crate) fn claims(&self, tensors: &[NamedTensor<'_>]) -> bool {
        let Some(sums) = &self.sums else { return false };
        let claimed = |tensor: &NamedTensor<'_>| {
            let info = self.header.info(&tensor.name)?;
            let mut hash = checksums::hash_of(&tensor.name, info);
            each_part(tensor.data, FloatType::F32, &mut |bytes| {
                hash.update(bytes);
                Ok(())
            })
            .ok()?;
            Some(info.shape == tensor.shape && sums.tensor(&tensor.name)? == hash.digest())
        };
        self.names().len() == tensors.len() && tensors.iter().all(|tensor| claimed(tensor) == Some(true))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, in file order.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Number format, numbers and bytes of each tensor, in file order.
    pub(crate) fn tensors(&self) -> Vec<(String, u64, u64)> {
        let tensor = |name: &String| {
            let info = self.header.info(name)?;
            let (start, end) = info.data_offsets;
            let numbers = info.shape.iter().map(|&n| n as u64).product();
            Some((format!("{:?}", info.dtype), numbers, (end - start) as u64))
        };
        self.names().iter().filter_map(tensor).collect()
    }

    /// Offset of a tensor's bytes in the file, its shape and its number format.
    ///
    /// # Errors
    /// [`TrainError::TensorMissing`].
    pub fn place(&self, name: &str) -> Result<(u64, &[usize], String), TrainError> {
        let info = self.info(name)?;
        Ok((self.start + info.data_offsets.0 as u64, &info.shape, format!("{:?}", info.dtype)))
    }

    /// The text stored under `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Whether the file has checksums.
    pub fn has_checksums(&self) -> bool {
        self.sums.is_some()
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// [`TrainError::TensorMissing`].
    pub fn shape(&self, name: &str) -> Result<&[usize], TrainError> {
        self.info(name).map(|info| info.shape.as_slice())
    }

    /// Checks that a tensor exists, with this shape and a number format that [`TensorFile::read`] supports.
    ///
    /// # Errors
    /// [`TrainError::TensorMissing`], [`TrainError::TensorShape`], [`TrainError::TensorType`].
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<(), TrainError> {
        let info = self.info(name)?;
        if info.shape != shape {
            return Err(TrainError::TensorShape {
                path: self.path.clone(),
                name: name.to_owned(),
                got: info.shape.clone(),
                want: shape.to_vec(),
            });
        }
        match info.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(()),
            other => Err(self.wrong_type(name, other)),
        }
    }

    /// Reads a tensor of F32, F16 or BF16 numbers, widened to f32, into `numbers`.
    ///
    /// # Errors
    /// As [`TensorFile::check`], [`TrainError::Io`], and [`TrainError::TensorDamaged`].
    pub fn read(&self, name: &str, shape: &[usize], numbers: &mut [f32]) -> Result<(), TrainError> {
        self.check(name, shape)?;
        let info = self.info(name)?;
        let mut numbers = numbers.iter_mut();
        self.for_each_chunk(name, info, |bytes| match info.dtype {
            Dtype::F16 => convert(bytes, &mut numbers, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => convert(bytes, &mut numbers, |b| bf16::from_le_bytes(b).to_f32()),
            _ => convert(bytes, &mut numbers, f32::from_le_bytes),
        })
    }

    /// Reads a tensor of token ids, in any integer format of 16 to 64 bits: its shape and the ids in row-major
    /// order.
    ///
    /// # Errors
    /// [`TrainError::TensorMissing`], [`TrainError::TensorType`], [`TrainError::Io`], and
    /// [`TrainError::FileFormat`] for an id that is negative or beyond 32 bits; [`TrainError::TensorDamaged`].
    pub fn read_tokens(&self, name: &str) -> Result<(Vec<usize>, Vec<u32>), TrainError> {
        let info = self.info(name)?;
        // No huge allocation: the header was checked against the file's length.
        let mut ids = vec![0i64; info.shape.iter().product()];
        let mut rest = ids.iter_mut();
        match info.dtype {
            Dtype::I32 => {
                self.for_each_chunk(name, info, |b| convert(b, &mut rest, |b| i32::from_le_bytes(b).into()))
            }
            Dtype::U32 => {
                self.for_each_chunk(name, info, |b| convert(b, &mut rest, |b| u32::from_le_bytes(b).into()))
            }
            Dtype::U16 => {
                self.for_each_chunk(name, info, |b| convert(b, &mut rest, |b| u16::from_le_bytes(b).into()))
            }
            Dtype::I64 => self.for_each_chunk(name, info, |b| convert(b, &mut rest, i64::from_le_bytes)),
            other => return Err(self.wrong_type(name, other)),
        }?;
        let token = |(position, &id): (usize, &i64)| {
            u32::try_from(id).map_err(|_| TrainError::FileFormat {
                path: self.path.clone(),
                kind: KIND,
                problem: format!("number {position} of tensor `{name}` is {id}, which is not a token"),
            })
        };
        let tokens = ids.iter().enumerate().map(token).collect::<Result<_, _>>()?;
        Ok((info.shape.clone(), tokens))
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, TrainError> {
        let missing = || TrainError::TensorMissing { path: self.path.clone(), name: name.to_owned() };
        self.header.info(name).ok_or_else(missing)
    }

    fn wrong_type(&self, name: &str, got: Dtype) -> TrainError {
        TrainError::TensorType { path: self.path.clone(), name: name.to_owned(), got: format!("{got:?}") }
    }

    /// Calls `visit` with the bytes of a tensor, in chunks of whole numbers, then verifies the checksum.
    fn for_each_chunk(
        &self,
        name: &str,
        info: &TensorInfo,
        mut visit: impl FnMut(&[u8]),
    ) -> Result<(), TrainError> {
        let (start, end) = info.data_offsets;
        let want = self.sums.as_ref().and_then(|sums| sums.tensor(name));
        let mut hash = checksums::hash_of(name, info);
        let mut file = &self.file;
        let mut read = || -> io::Result<()> {
            file.seek(SeekFrom::Start(self.start + start as u64))?;
            let mut chunk = vec![0; CHUNK.min(end - start)];
            let mut left = end - start;
            while left > 0 {
                let count = left.min(chunk.len());
                file.read_exact(&mut chunk[..count])?;
                if want.is_some() {
                    hash.update(&chunk[..count]);
                }
                visit(&chunk[..count]);
                left -= count;
            }
            Ok(())
        };
        read().map_err(TrainError::io("read", &self.path))?;
        match (hash.digest(), want) {
            (got, Some(want)) if got != want => {
                Err(TrainError::TensorDamaged { path: self.path.clone(), name: name.to_owned(), got, want })
            }
            _ => Ok(()),
        }
    }
}

/// Writes the little-endian numbers of `N` bytes in `bytes` to the next elements of `out`.
fn convert<'a, const N: usize, T: 'a>(
    bytes: &[u8],
    out: &mut impl Iterator<Item = &'a mut T>,
    number: impl Fn([u8; N]) -> T,
) {
    for (raw, place) in bytes.as_chunks::<N>().0.iter().zip(out) {
        *place = number(*raw);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;
    use tempfile::tempdir;

    /// A tensor as another program writes it.
    type ForeignTensor = (String, Dtype, Vec<usize>, Vec<u8>);

    fn write_foreign(path: &Path, tensors: &[ForeignTensor]) {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, data)| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
        std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    #[test]
    fn tokens_are_read_from_any_integer_format() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        let i32s = [1i32, 2, 3, 70_000].iter().flat_map(|x| x.to_le_bytes()).collect();
        let i64s = [5i64, -1].iter().flat_map(|x| x.to_le_bytes()).collect();
        let u16s = [9u16, 65_535].iter().flat_map(|x| x.to_le_bytes()).collect();
        write_foreign(
            &path,
            &[
                ("tokens".into(), Dtype::I32, vec![2, 2], i32s),
                ("negative".into(), Dtype::I64, vec![2], i64s),
                ("short".into(), Dtype::U16, vec![2], u16s),
                ("real".into(), Dtype::F32, vec![1], vec![0; 4]),
            ],
        );
        let file = TensorFile::open(&path).unwrap();
        assert_eq!(file.read_tokens("tokens").unwrap(), (vec![2, 2], vec![1, 2, 3, 70_000]));
        assert_eq!(file.read_tokens("short").unwrap().1, [9, 65_535]);
        let error = file.read_tokens("negative").unwrap_err().to_string();
        assert!(error.ends_with("number 1 of tensor `negative` is -1, which is not a token"), "{error}");
        assert!(matches!(file.read_tokens("real"), Err(TrainError::TensorType { .. })));
        assert!(matches!(file.read_tokens("none"), Err(TrainError::TensorMissing { .. })));
    }
}
