//! Tensors in .npy files, of any type of numbers.

use std::{
    fs::File,
    io::{Cursor, Read},
    path::Path,
};

use gradcam::{
    engine::{Tensor, half},
    ndarray::{ArrayD, IxDyn, ShapeBuilder},
};
use ndarray_npy::npy::header::{Header, Layout};

/// What a .npy file begins with.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Most bytes of a .npy file.
pub(crate) const MAX_BYTES: u64 = 8 << 30;

/// A tensor and the type that the file has it in, as numpy calls it.
#[derive(Debug)]
pub(crate) struct Npy {
    pub(crate) tensor: Tensor,
    pub(crate) dtype: &'static str,
}

/// How the numbers of one type are read from bytes, the lowest first.
#[derive(Clone, Copy)]
enum Reader {
    Float(fn(&[u8]) -> f32),
    Int(fn(&[u8]) -> Option<i64>),
}

/// Descriptor without its byte order, name, bytes of a number, and how it is read.
#[expect(clippy::cast_possible_truncation, reason = "networks compute in float32")]
const TYPES: &[(&str, &str, usize, Reader)] = &[
    ("f2", "float16", 2, Reader::Float(|b| half(u16::from_le_bytes(bytes(b))))),
    ("f4", "float32", 4, Reader::Float(|b| f32::from_le_bytes(bytes(b)))),
    ("f8", "float64", 8, Reader::Float(|b| f64::from_le_bytes(bytes(b)) as f32)),
    ("b1", "bool", 1, Reader::Int(|b| Some((b[0] != 0).into()))),
    ("u1", "uint8", 1, Reader::Int(|b| Some(b[0].into()))),
    ("u2", "uint16", 2, Reader::Int(|b| Some(u16::from_le_bytes(bytes(b)).into()))),
    ("u4", "uint32", 4, Reader::Int(|b| Some(u32::from_le_bytes(bytes(b)).into()))),
    ("u8", "uint64", 8, Reader::Int(|b| u64::from_le_bytes(bytes(b)).try_into().ok())),
    ("i1", "int8", 1, Reader::Int(|b| Some(i8::from_le_bytes(bytes(b)).into()))),
    ("i2", "int16", 2, Reader::Int(|b| Some(i16::from_le_bytes(bytes(b)).into()))),
    ("i4", "int32", 4, Reader::Int(|b| Some(i32::from_le_bytes(bytes(b)).into()))),
    ("i8", "int64", 8, Reader::Int(|b| Some(i64::from_le_bytes(bytes(b))))),
];

/// The bytes of one number; the chunks that are read have its length.
fn bytes<const N: usize>(chunk: &[u8]) -> [u8; N] {
    chunk.try_into().unwrap_or([0; N])
}

/// Reads the tensor of a .npy file.
pub(crate) fn load(path: &Path) -> Result<Tensor, String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let opened = File::open(path);
    let read = opened.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| format!("{shown}: cannot be read: {error}"))?;
    if !bytes.starts_with(MAGIC) {
        return Err(format!("{shown}: is no .npy file: it does not begin with \\x93NUMPY"));
    }
    self::read(&bytes).map(|npy| npy.tensor).map_err(|why| format!("{shown}: {why}"))
}

/// Reads the bytes of a .npy file. Floats are rounded to float32.
pub(crate) fn read(file: &[u8]) -> Result<Npy, String> {
    // The parser of the header recurses into brackets, which a real header has three of.
    let start = file.get(..file.len().min(10_000)).unwrap_or_default();
    let end = start.iter().position(|byte| *byte == b'\n').unwrap_or(start.len());
    let brackets = start[..end].iter().filter(|byte| matches!(byte, b'(' | b'[' | b'{')).count();
    if brackets > 16 || end == 10_000 {
        return Err("its .npy header is malformed".to_owned());
    }
    let mut rest = Cursor::new(file);
    let header = Header::from_reader(&mut rest)
        .map_err(|error| format!("the .npy file is damaged: {error}"))?;
    let data = usize::try_from(rest.position()).ok().and_then(|at| file.get(at..));
    let data = data.unwrap_or_default();
    let descriptor = header.type_descriptor.to_string();
    let descriptor = descriptor.trim_matches('\'');
    let plain = descriptor.trim_start_matches(['<', '>', '|', '=']);
    let known = TYPES.iter().find(|(short, ..)| *short == plain);
    let Some((_, dtype, size, reader)) = known else {
        let names: Vec<_> = TYPES.iter().map(|(_, name, ..)| *name).collect();
        return Err(format!(
            "the tensor has type '{descriptor}'; it may be one of {}: save it with x.astype(numpy.float32)",
            names.join(", ")
        ));
    };
    // Checked before memory is taken for what the header claims.
    let count = header.shape.iter().try_fold(*size, |all, size| all.checked_mul(*size));
    if count != Some(data.len()) {
        return Err(format!(
            "the file is cut short or damaged: a tensor of shape {:?} needs {} bytes, it has {}",
            header.shape,
            count.map_or_else(|| "too many".to_owned(), |count| count.to_string()),
            data.len()
        ));
    }
    let swapped: Vec<u8>;
    let data = if descriptor.starts_with('>') {
        swapped = data.chunks(*size).flat_map(|number| number.iter().rev().copied()).collect();
        &swapped
    } else {
        data
    };
    let shape = || IxDyn(&header.shape).set_f(header.layout == Layout::Fortran);
    let torn = |error| format!("the .npy file is damaged: {error}");
    let tensor = match reader {
        Reader::Float(read) => {
            let numbers = data.chunks_exact(*size).map(read).collect();
            Tensor::F32(ArrayD::from_shape_vec(shape(), numbers).map_err(torn)?)
        }
        Reader::Int(read) => {
            let numbers = data.chunks_exact(*size).map(read).collect::<Option<Vec<_>>>();
            let numbers = numbers.ok_or("it has a number beyond those of int64")?;
            Tensor::I64(ArrayD::from_shape_vec(shape(), numbers).map_err(torn)?)
        }
    };
    Ok(Npy { tensor, dtype })
}
