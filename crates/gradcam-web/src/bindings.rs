//! What JavaScript sees: the state of a page, which a web worker holds.

use std::{cell::RefCell, collections::BTreeMap, io, sync::Arc};

use gradcam::onnx_grad::FileBytes;
use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use web_sys::{Blob, FileReaderSync};

use crate::{DroppedFiles, PageState, Picture};

/// The least that is read of a file at once. A model is read as many small parts, and each call of the browser costs more than
/// these bytes do.
const READ: u64 = 256 << 10;

thread_local! {
    /// The files of models that are open. Objects of JavaScript stay in their thread, so the rest knows them by their number.
    static BLOBS: RefCell<BTreeMap<usize, Blob>> = const { RefCell::new(BTreeMap::new()) };
}

/// A file that the page was given. Its bytes stay with the browser until they are read.
struct BlobFile {
    number: usize,
    len: u64,
    /// The last part that was read, and where it begins.
    last: std::sync::Mutex<(u64, Vec<u8>)>,
}

impl BlobFile {
    fn new(blob: Blob) -> Self {
        let len = blob.size() as u64;
        let number = BLOBS.with_borrow_mut(|blobs| {
            let number = blobs.last_key_value().map_or(0, |(last, _)| last + 1);
            blobs.insert(number, blob);
            number
        });
        Self { number, len, last: std::sync::Mutex::default() }
    }

    /// Reads from the browser.
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let failed = |error: JsValue| io::Error::other(format!("{error:?}"));
        let end = offset + into.len() as u64;
        let read = BLOBS.with_borrow(|blobs| {
            #[expect(clippy::cast_precision_loss, reason = "files of less than 9 petabytes")]
            let part = blobs[&self.number].slice_with_f64_and_f64(offset as f64, end as f64)?;
            FileReaderSync::new()?.read_as_array_buffer(&part)
        });
        let bytes = Uint8Array::new(&read.map_err(failed)?.into());
        if bytes.length() as usize != into.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.copy_to(into);
        Ok(())
    }
}

/// The browser may forget the file once no model reads it.
impl Drop for BlobFile {
    fn drop(&mut self) {
        BLOBS.with_borrow_mut(|blobs| blobs.remove(&self.number));
    }
}

impl FileBytes for BlobFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(into.len() as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if into.len() as u64 >= READ {
            return self.read(offset, into);
        }
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (start, bytes) = &mut *last;
        if offset < *start || end > *start + bytes.len() as u64 {
            bytes.resize(READ.min(self.len - offset) as usize, 0);
            *start = offset;
            if let Err(error) = self.read(offset, bytes) {
                bytes.clear();
                return Err(error);
            }
        }
        let from = (offset - *start) as usize;
        into.copy_from_slice(&bytes[from..from + into.len()]);
        Ok(())
    }
}

#[wasm_bindgen]
extern "C" {
    /// The worker's own function, for how many of how many runs are done.
    #[wasm_bindgen(js_namespace = globalThis, js_name = onGradcamProgress)]
    fn on_progress(done: usize, total: usize);

    /// The worker's own function, for the message of a panic, after which the worker ends.
    #[wasm_bindgen(js_namespace = globalThis, js_name = onGradcamPanic)]
    fn on_panic(message: &str);
}

#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| on_panic(&panic.to_string())));
}

fn read<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T, JsError> {
    serde_json::from_str(json).map_err(|error| JsError::new(&error.to_string()))
}

fn answer<T: Serialize>(given: Result<T, String>) -> Result<String, JsError> {
    let given = given.map_err(|message| JsError::new(&message))?;
    serde_json::to_string(&given).map_err(|error| JsError::new(&error.to_string()))
}

fn or_throw<T>(given: Result<T, String>) -> Result<T, JsError> {
    given.map_err(|message| JsError::new(&message))
}

/// The state of a page, in its worker. Requests and answers are JSON.
#[wasm_bindgen(js_name = PageState)]
pub struct PageBindings(PageState);

/// A picture for a canvas.
#[wasm_bindgen(js_name = Picture)]
pub struct PagePicture(Picture);

#[wasm_bindgen(js_class = Picture)]
impl PagePicture {
    /// Width in pixels.
    #[wasm_bindgen(getter)]
    pub fn width(&self) -> u32 {
        self.0.width
    }

    /// Height in pixels.
    #[wasm_bindgen(getter)]
    pub fn height(&self) -> u32 {
        self.0.height
    }

    /// Red, green, blue and opacity of each pixel, once: they are given away.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0.rgba)
    }
}

#[wasm_bindgen(js_class = PageState)]
impl PageBindings {
    /// A page with nothing on it.
    #[wasm_bindgen(constructor)]
    #[expect(clippy::new_without_default, reason = "a constructor of JavaScript")]
    pub fn new() -> Self {
        Self(PageState::new(on_progress))
    }

    /// The methods and the colors that there are.
    pub fn tables() -> String {
        PageState::tables().to_string()
    }

    /// Opens the model `name`, of files that have `paths` and bytes in the same order.
    pub fn open(
        &mut self,
        name: &str,
        paths: Vec<String>,
        blobs: Vec<Blob>,
        settings: &str,
    ) -> Result<String, JsError> {
        let mut files = DroppedFiles::default();
        for (path, blob) in paths.into_iter().zip(blobs) {
            files.add(path, Arc::new(BlobFile::new(blob)));
        }
        answer(self.0.open(files, name, read(settings)?))
    }

    /// Closes a model.
    pub fn close(&mut self, model: u32) {
        self.0.close(model);
    }

    /// Replaces what is said of a model beside its files.
    pub fn say(&mut self, model: u32, settings: &str) -> Result<String, JsError> {
        answer(self.0.say(model, read(settings)?))
    }

    /// Decodes a photo.
    #[wasm_bindgen(js_name = addPhoto)]
    pub fn add_photo(&mut self, file: &[u8]) -> Result<String, JsError> {
        answer(self.0.add_photo(file).map(
            |(id, width, height)| serde_json::json!({ "id": id, "width": width, "height": height }),
        ))
    }

    /// Forgets a photo.
    #[wasm_bindgen(js_name = dropPhoto)]
    pub fn drop_photo(&mut self, photo: u32) {
        self.0.drop_photo(photo);
    }

    /// The photo as the page shows it.
    pub fn show(&self, photo: u32) -> Result<PagePicture, JsError> {
        or_throw(self.0.show(photo)).map(PagePicture)
    }

    /// Explains a photo.
    pub fn explain(&mut self, request: &str) -> Result<String, JsError> {
        answer(self.0.explain(&read(request)?))
    }

    /// Forgets an explanation.
    #[wasm_bindgen(js_name = dropExplanation)]
    pub fn drop_explanation(&mut self, explanation: u32) {
        self.0.drop_explanation(explanation);
    }

    /// A heatmap over its photo, at the size of the page.
    pub fn draw(
        &self,
        explanation: u32,
        heatmap: usize,
        style: &str,
    ) -> Result<PagePicture, JsError> {
        or_throw(self.0.draw(explanation, heatmap, &read(style)?)).map(PagePicture)
    }

    /// A heatmap over its photo, at the photo's size, as a PNG file.
    pub fn png(&self, explanation: u32, heatmap: usize, style: &str) -> Result<Vec<u8>, JsError> {
        or_throw(self.0.png(explanation, heatmap, &read(style)?))
    }

    /// The raw map of a layer.
    pub fn map(&self, explanation: u32, layer: usize) -> Result<Vec<f32>, JsError> {
        or_throw(self.0.map(explanation, layer))
    }

    /// The model with the explanation as a part of its graph, as a file.
    pub fn export(&mut self, request: &str) -> Result<Vec<u8>, JsError> {
        or_throw(self.0.export(&read(request)?))
    }

    /// Runs the model alone, to compare the times.
    pub fn plain(&mut self, model: u32, photo: u32, runs: usize) -> Result<String, JsError> {
        answer(self.0.plain(model, photo, runs))
    }
}
