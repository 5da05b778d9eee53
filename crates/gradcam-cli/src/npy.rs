//! Tensors in .npy files, of any type of numbers, and float32 arrays as such files.

mod header;

use std::{fs::File, io::Read, path::Path};

use gradcam::{
    engine::{Tensor, half},
    ndarray::{ArrayBase, ArrayD, Data, Dimension, IxDyn, ShapeBuilder},
};

use header::Header;
pub(crate) use header::MAGIC;

/// Most bytes of a .npy file.
pub(crate) const MAX_BYTES: u64 = 8 << 30;

/// A tensor, and numpy's name of its type in the file.
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

/// The header of a .npy file, and the bytes behind it.
fn header(file: &[u8]) -> Result<(Header<'_>, &[u8]), String> {
    Header::read(file).ok_or_else(|| "its .npy header is malformed".to_owned())
}

/// An array as the bytes of a .npy file.
pub(crate) fn bytes_of<S: Data<Elem = f32>, D: Dimension>(array: &ArrayBase<S, D, f32>) -> Vec<u8> {
    let mut file = Header::of_array("<f4", array.shape());
    file.reserve(array.len() * size_of::<f32>());
    file.extend(array.iter().flat_map(|number| number.to_le_bytes()));
    file
}

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

/// The shape that the header of a .npy file says, if a file is one.
pub(crate) fn shape(path: &Path) -> Option<Vec<usize>> {
    let mut start = Vec::new();
    File::open(path).ok()?.take((header::MAX_BYTES + 12) as u64).read_to_end(&mut start).ok()?;
    let is_tensor = start.starts_with(MAGIC);
    Some(is_tensor.then(|| header(&start))?.ok()?.0.shape)
}

/// Reads the bytes of a .npy file. Floats are rounded to float32.
pub(crate) fn read(file: &[u8]) -> Result<Npy, String> {
    let (header, data) = header(file)?;
    let descriptor = header.descriptor;
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
    let shape = || IxDyn(&header.shape).set_f(header.is_fortran);
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

#[cfg(test)]
mod tests {
    use gradcam::ndarray::{Array, arr2};

    use super::*;

    /// A file of version 1.0.
    fn file(descriptor: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let header =
            format!("{{'descr': '{descriptor}', 'fortran_order': {order}, 'shape': {shape}, }}");
        [MAGIC, &[1, 0, 118, 0], format!("{header:<117}\n").as_bytes(), data].concat()
    }

    #[test]
    fn every_type_keeps_its_numbers() {
        let floats: &[(&str, &[u8])] = &[
            ("<f2", &[0x00, 0x3c, 0x00, 0xc1]),
            (">f2", &[0x3c, 0x00, 0xc1, 0x00]),
            ("<f4", &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0]),
            (">f8", &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 0x04, 0, 0, 0, 0, 0, 0]),
        ];
        for (descriptor, data) in floats {
            let got = read(&file(descriptor, false, "(2,)", data)).expect(descriptor).tensor;
            assert_eq!(got, Array::from(vec![1f32, -2.5]).into(), "{descriptor}");
        }
        let integers: &[(&str, &[u8], [i64; 2])] = &[
            ("|b1", &[0, 1], [0, 1]),
            ("|u1", &[7, 255], [7, 255]),
            ("|i1", &[7, 255], [7, -1]),
            ("<u2", &[1, 2, 255, 255], [513, 65535]),
            (">i2", &[1, 2, 255, 255], [258, -1]),
            ("<u4", &[1, 0, 0, 0, 255, 255, 255, 255], [1, 4_294_967_295]),
            ("<i4", &[1, 0, 0, 0, 255, 255, 255, 255], [1, -1]),
            (">u8", &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0], [1, 512]),
            ("<i8", &[1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], [1, -1]),
        ];
        for (descriptor, data, want) in integers {
            let got = read(&file(descriptor, false, "(2,)", data)).expect(descriptor).tensor;
            assert_eq!(got, Array::from(want.to_vec()).into(), "{descriptor}");
        }
        let columns = read(&file("|u1", true, "(2, 3)", &[1, 4, 2, 5, 3, 6])).expect("columns");
        assert_eq!(columns.tensor, arr2(&[[1i64, 2, 3], [4, 5, 6]]).into());
        let single = read(&file("|u1", false, "()", &[9])).expect("a single number");
        assert_eq!(single.tensor.shape(), [0usize; 0]);
    }

    #[test]
    fn what_is_no_tensor_of_numbers_is_refused() {
        let rows: &[(&str, &str, &[u8], &str)] = &[
            ("<U4", "(1,)", &[0; 16], "'<U4'; it may be one of float16, float32"),
            ("<c8", "(1,)", &[0; 8], "'<c8'"),
            ("<u8", "(1,)", &[255; 8], "beyond those of int64"),
            ("<f4", "(2,)", &[0; 7], "needs 8 bytes, it has 7"),
        ];
        for (descriptor, shape, data, phrase) in rows {
            let why = read(&file(descriptor, false, shape, data)).expect_err(descriptor);
            assert!(why.contains(phrase), "{descriptor}: {why}");
        }
    }
}
