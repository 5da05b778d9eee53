//! The header of a .npy file: a Python dictionary of three entries, in ASCII.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. Crates for these files bring a parser of all
//! Python literals, with its generator: ten crates for three entries.

/// The first bytes of a .npy file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Most bytes of a header that is read.
pub(super) const MAX_BYTES: usize = 10_000;

/// Where the numbers begin is a multiple of this.
const ALIGNMENT: usize = 64;

/// What a header says about the numbers behind it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    /// numpy's name of the type, such as `<f4`, or the list of fields of a structured type.
    pub(super) descriptor: &'a str,
    /// Whether the first axis varies fastest.
    pub(super) is_fortran: bool,
    pub(super) shape: Vec<usize>,
}

impl<'a> Header<'a> {
    /// Reads the header of a file, and gives the bytes behind it too. `None` if it is malformed or longer than [`MAX_BYTES`].
    pub(super) fn read(file: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let rest = file.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk::<2>()?;
        let (len, rest) = match version[0] {
            1 => rest
                .split_first_chunk()
                .map(|(len, rest)| (u16::from_le_bytes(*len).into(), rest))?,
            2 | 3 => {
                rest.split_first_chunk().map(|(len, rest)| (u32::from_le_bytes(*len), rest))?
            }
            _ => return None,
        };
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_BYTES)?;
        let (text, data) = rest.split_at_checked(len)?;
        Some((Literal(std::str::from_utf8(text).ok()?).header()?, data))
    }

    /// The bytes in front of the numbers of a C-ordered array.
    pub(super) fn of_array(descriptor: &str, shape: &[usize]) -> Vec<u8> {
        let sizes: Vec<_> = shape.iter().map(usize::to_string).collect();
        // A tuple of one entry needs its comma.
        let comma = if shape.len() == 1 { "," } else { "" };
        let entries = format!(
            "{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({}{comma}), }}",
            sizes.join(", ")
        );
        // Magic, version and the length of what follows, which ends with a line feed.
        let start = MAGIC.len() + 4;
        let len = (start + entries.len() + 1).next_multiple_of(ALIGNMENT) - start;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "65,535 bytes say the sizes of 2,900 axes"
        )]
        let len_bytes = (len as u16).to_le_bytes();
        [MAGIC, &[1, 0], &len_bytes, format!("{entries:<width$}\n", width = len - 1).as_bytes()]
            .concat()
    }
}

/// Python text that is not read yet.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn header(&mut self) -> Option<Header<'a>> {
        let (mut descriptor, mut is_fortran, mut shape) = (None, None, None);
        self.expect("{")?;
        while self.expect("}").is_none() {
            let key = self.string()?;
            self.expect(":")?;
            match key {
                "descr" => descriptor = Some(self.string().or_else(|| self.list())?),
                "fortran_order" => is_fortran = Some(self.boolean()?),
                "shape" => shape = Some(self.tuple()?),
                _ => return None,
            }
            if self.expect(",").is_none() {
                self.expect("}")?;
                break;
            }
        }
        let header = Header { descriptor: descriptor?, is_fortran: is_fortran?, shape: shape? };
        self.0.trim().is_empty().then_some(header)
    }

    /// Reads a token that must come next.
    fn expect(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let (text, rest) = rest[1..].split_once(quote)?;
        self.0 = rest;
        Some(text)
    }

    /// The list of fields of a structured type, as it is written.
    fn list(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start();
        let (end, _) = rest.rmatch_indices(']').next().filter(|_| rest.starts_with('['))?;
        let (list, rest) = rest.split_at(end + 1);
        self.0 = rest;
        Some(list)
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.expect("True") {
            Some(()) => Some(true),
            None => self.expect("False").map(|()| false),
        }
    }

    /// Integers in parentheses.
    fn tuple(&mut self) -> Option<Vec<usize>> {
        self.expect("(")?;
        let (sizes, rest) = self.0.split_once(')')?;
        self.0 = rest;
        let sizes = sizes.trim();
        let sizes = sizes.strip_suffix(',').unwrap_or(sizes);
        let size = |size: &str| size.trim().trim_end_matches('L').parse().ok();
        if sizes.is_empty() { Some(vec![]) } else { sizes.split(',').map(size).collect() }
    }
}

#[cfg(test)]
mod tests {
    use gradcam::ndarray::{Array, ArrayD, IxDyn};
    use ndarray_npy::{ReadNpyExt, WriteNpyExt};

    use super::*;

    fn file(version: u8, header: &str) -> Vec<u8> {
        let len = u32::try_from(header.len()).expect("short").to_le_bytes();
        let len = if version == 1 { &len[..2] } else { &len[..] };
        [MAGIC, &[version, 0], len, header.as_bytes(), b"data"].concat()
    }

    #[test]
    fn headers_as_numpy_writes_and_reads_them() {
        let header = |descriptor, is_fortran, shape| Header { descriptor, is_fortran, shape };
        let rows = [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 8, 8), }   \n",
                header("<f4", false, vec![1, 3, 8, 8]),
            ),
            (
                "{'descr': '|u1', 'fortran_order': True, 'shape': (), }\n",
                header("|u1", true, vec![]),
            ),
            (
                "{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }\n",
                header("<i8", false, vec![5]),
            ),
            // By Python 2, and by other writers.
            (
                "{\"shape\":(5L,3L),\"fortran_order\":False,\"descr\":\">f8\"}",
                header(">f8", false, vec![5, 3]),
            ),
            (
                "{'descr': [('x', '<f4'), ('y', '<f4', (2,))], 'fortran_order': False, 'shape': (2,), }\n",
                header("[('x', '<f4'), ('y', '<f4', (2,))]", false, vec![2]),
            ),
        ];
        for (text, want) in rows {
            for version in 1..=3 {
                let file = file(version, text);
                assert_eq!(
                    Header::read(&file),
                    Some((
                        header(want.descriptor, want.is_fortran, want.shape.clone()),
                        &b"data"[..]
                    )),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_header_is_none() {
        let rows = [
            "",
            "{}",
            "{'descr': '<f4'}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
            "{'descr': '<f4' 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4, 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } and more",
        ];
        for text in rows {
            assert_eq!(Header::read(&file(1, text)), None, "{text}");
        }
        let whole = file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }");
        for cut in 0..whole.len() - b"data".len() {
            assert_eq!(Header::read(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(
            Header::read(&file(4, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }")),
            None
        );
        let long = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}",
            "1, ".repeat(MAX_BYTES)
        );
        assert_eq!(Header::read(&file(2, &long)), None);
    }

    #[test]
    fn files_equal_those_of_another_writer() {
        for shape in [&[][..], &[3], &[0], &[2, 3], &[1, 3, 224, 224], &[1; 30]] {
            let count = shape.iter().product::<usize>();
            let numbers: Vec<f32> = (0u16..).map(f32::from).take(count.min(60_000)).collect();
            let shape = if numbers.len() == count { shape } else { &[60_000] };
            let array =
                Array::from_shape_vec(IxDyn(shape), numbers).expect("as many as the shape says");
            let mut theirs = Vec::new();
            array.write_npy(&mut theirs).expect("npy");
            let ours = super::super::bytes_of(&array);
            assert_eq!(ArrayD::<f32>::read_npy(&ours[..]).expect("npy"), array);
            let (header, data) = Header::read(&theirs).expect("a header");
            assert_eq!(
                (header.descriptor, header.is_fortran, &header.shape[..]),
                ("<f4", false, shape)
            );
            assert_eq!(Header::read(&ours), Some((header, data)));
            assert_eq!((ours.len() - data.len()) % ALIGNMENT, 0);
        }
    }
}
