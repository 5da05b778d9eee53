//! Explainers.

use std::{
    cell::RefCell,
    collections::HashMap,
    ops::ControlFlow,
    panic::resume_unwind,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use gradcam::{
    CancelToken, ErrorKind, ExportHeads, ExportSettings, ExportTargets, ExportWeights, Images,
    Target, TargetSpec, Targets,
    image::Photo,
    ndarray::{ArrayD, Axis, concatenate},
};
use numpy::PyArray1;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyList, PyTuple},
};

use crate::{
    arrays::{self, Picture},
    concepts::Concepts,
    errors::{self, OrRaise},
    explanation::Explanation,
    settings::{self, Settings},
    targets::{ReadTarget, read},
};

thread_local! {
    /// What a signal's handler raised while this thread explained.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// How often signals are looked for.
const INTERVAL: Duration = Duration::from_millis(50);

/// Runs the handlers of signals that have arrived; whether one has raised an exception.
fn has_raised() -> bool {
    let Err(raised) = Python::attach(|py| py.check_signals()) else { return false };
    RAISED.set(Some(raised));
    true
}

/// Runs `work` in a thread beside, and cancels the token when the handler of a signal raises an exception. This thread waits; it
/// is the one that runs handlers if it is the main one.
fn watched<R: Send>(token: &CancelToken, work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let (working, ended) = mpsc::channel::<()>();
        let worker = scope.spawn(move || {
            // Dropped when the work is over.
            let _working = working;
            work()
        });
        while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            if !token.is_canceled() && has_raised() {
                token.cancel();
            }
        }
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Explains images with one model.
#[pyclass(frozen, module = "onnx_gradcam._native")]
pub(crate) struct Explainer {
    inner: gradcam::Explainer,
}

/// The images of a call.
enum Pictures {
    Photos(Vec<Photo>),
    Tensor(ArrayD<f32>),
}

impl Pictures {
    /// The photo of each of `count` images, where they are photos.
    fn photos(self, count: usize) -> Vec<Option<Arc<Photo>>> {
        match self {
            Self::Photos(photos) => photos.into_iter().map(|one| Some(one.into())).collect(),
            Self::Tensor(_) => vec![None; count],
        }
    }
}

type Inputs<'py> = HashMap<String, Bound<'py, PyAny>>;

impl Explainer {
    /// The one target of an image of a batch.
    fn one_target(&self, target: &Bound<'_, PyAny>) -> PyResult<Target> {
        match read(target, &self.inner)?.0 {
            TargetSpec::One(target) => Ok(target),
            TargetSpec::Top(_) => {
                let message =
                    "an image of a batch has one target, not top:K; explain it with explain()";
                Err(errors::new(target.py(), "TargetError", message, None))
            }
        }
    }

    /// One image, as a batch of one.
    fn one(&self, image: &Bound<'_, PyAny>) -> PyResult<Pictures> {
        Ok(match arrays::picture(image)? {
            Picture::Photo(photo) => Pictures::Photos(vec![photo]),
            Picture::Tensor(x) => {
                let x = self.with_batch(x);
                if x.shape().first() != Some(&1) {
                    let message = format!(
                        "the array has shape {:?}, which is {} images; explain them with batch()",
                        x.shape(),
                        x.shape().first().unwrap_or(&0)
                    );
                    return Err(errors::new(image.py(), "InputError", &message, None));
                }
                Pictures::Tensor(x)
            }
        })
    }

    /// A tensor with an axis for the batch.
    fn with_batch(&self, x: ArrayD<f32>) -> ArrayD<f32> {
        let lacks = x.ndim() + 1 == self.inner.image_input().shape.len();
        if lacks { x.insert_axis(Axis(0)) } else { x }
    }

    /// Several images: a list of what stands for one, or an array.
    fn several(&self, images: &Bound<'_, PyAny>) -> PyResult<Pictures> {
        let py = images.py();
        if !images.is_instance_of::<PyList>() && !images.is_instance_of::<PyTuple>() {
            return arrays::pictures(images, self.inner.image_input().elem.is_float()).map(
                |found| {
                    found.map_or_else(Pictures::Photos, |x| Pictures::Tensor(self.with_batch(x)))
                },
            );
        }
        let (mut photos, mut tensors) = (Vec::new(), Vec::new());
        for image in images.try_iter()? {
            match arrays::picture(&image?)? {
                Picture::Photo(photo) => photos.push(photo),
                Picture::Tensor(x) => tensors.push(self.with_batch(x)),
            }
        }
        if tensors.is_empty() {
            return Ok(Pictures::Photos(photos));
        }
        let views: Vec<_> = tensors.iter().map(|x| x.view()).collect();
        match concatenate(Axis(0), &views) {
            Ok(x) if photos.is_empty() => Ok(Pictures::Tensor(x)),
            _ => {
                let message = "a batch is photos, or arrays of one shape; explain the others in a batch of their own";
                Err(errors::new(py, "InputError", message, None))
            }
        }
    }

    /// Asks the explainer, with the inputs of a call, while the interpreter is free for other threads. With a token, handlers of
    /// signals run meanwhile, and end the work if they raise an exception.
    fn ask<R: Send>(
        &self,
        py: Python<'_>,
        inputs: Inputs<'_>,
        token: Option<&CancelToken>,
        work: impl FnOnce(&gradcam::Explainer) -> gradcam::Result<R> + Send,
    ) -> PyResult<R> {
        let mut explainer = self.inner.clone();
        for (name, value) in inputs {
            explainer = explainer.with_input(&name, arrays::tensor(&value)?).or_raise(py)?;
        }
        let done = py.detach(|| match token {
            None => work(&explainer),
            Some(token) => watched(token, || work(&explainer.with_cancel_token(token))),
        });
        match (done, RAISED.take()) {
            (Err(error), Some(raised)) if error.kind() == ErrorKind::Canceled => Err(raised),
            (done, _) => done.or_raise(py),
        }
    }

    /// Explains pictures.
    fn run(
        &self,
        py: Python<'_>,
        pictures: Pictures,
        targets: Targets,
        inputs: Inputs<'_>,
        token: Option<&CancelToken>,
    ) -> PyResult<Vec<Vec<Explanation>>> {
        let explained = self.ask(py, inputs, token, |explainer| match &pictures {
            Pictures::Photos(photos) => explainer.explain(photos, targets),
            Pictures::Tensor(x) => explainer.explain(Images::Tensor(x.view()), targets),
        })?;
        let photos = pictures.photos(explained.len());
        let of_image = |(of_image, photo): (Vec<gradcam::Explanation>, Option<Arc<Photo>>)| {
            of_image.into_iter().map(|inner| Explanation::new(inner, photo.clone())).collect()
        };
        Ok(explained.into_iter().zip(photos).map(of_image).collect())
    }
}

#[pymethods]
impl Explainer {
    #[new]
    fn new(model: &Bound<'_, PyAny>, settings: Settings<'_>) -> PyResult<Self> {
        let py = model.py();
        let built_in = model.is_none();
        let model = settings::model(model)?;
        let builder = settings.set(py, built_in, gradcam::Explainer::builder(model))?;
        // A handler of Python runs in the main thread alone, between the runs of a method.
        let builder = builder.progress(|_| match has_raised() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        py.detach(|| builder.build()).or_raise(py).map(|inner| Self { inner })
    }

    /// Explains one image for several targets.
    fn explain(
        &self,
        image: &Bound<'_, PyAny>,
        targets: Vec<Bound<'_, PyAny>>,
        inputs: Inputs<'_>,
    ) -> PyResult<Vec<Explanation>> {
        let py = image.py();
        let read: Vec<ReadTarget> =
            targets.iter().map(|target| read(target, &self.inner)).collect::<PyResult<_>>()?;
        let pictures = self.one(image)?;
        let specs: Vec<TargetSpec> = read.iter().map(|(spec, _)| spec.clone()).collect();
        let explained = self.run(py, pictures, specs.into(), inputs, None)?;
        let mut explained: Vec<Explanation> = explained.into_iter().flatten().collect();
        // A number that is a label stands for one class, so such a target has one explanation.
        if let [(TargetSpec::One(_), Some(note))] = read.as_slice() {
            explained.iter_mut().for_each(|explanation| explanation.note(note));
        }
        Ok(explained)
    }

    /// Explains images, each for its target; without targets, each for its best class.
    fn batch(
        &self,
        images: &Bound<'_, PyAny>,
        targets: Option<Vec<Bound<'_, PyAny>>>,
        inputs: Inputs<'_>,
    ) -> PyResult<Vec<Explanation>> {
        let py = images.py();
        let one = |target: &Bound<'_, PyAny>| self.one_target(target);
        let targets = match targets {
            None => Target::Argmax.into(),
            Some(targets) => Targets::each(targets.iter().map(one).collect::<PyResult<Vec<_>>>()?),
        };
        let pictures = self.several(images)?;
        let token = CancelToken::new();
        let explained = self.run(py, pictures, targets, inputs, Some(&token))?;
        Ok(explained.into_iter().flatten().collect())
    }

    /// Checks that the scores of the model have a target, that the methods explain it, and that it is one.
    fn check_target(&self, target: &Bound<'_, PyAny>) -> PyResult<()> {
        let spec = self.one_target(target)?.into();
        self.inner.check_target(&spec).or_raise(target.py())
    }

    /// Factors the activation of the layer into concepts, which all images share.
    fn concepts(
        &self,
        images: &Bound<'_, PyAny>,
        components: usize,
        inputs: Inputs<'_>,
    ) -> PyResult<Concepts> {
        let py = images.py();
        let components = settings::positive(py, "components", components)?;
        let pictures = self.several(images)?;
        let token = CancelToken::new();
        let found = self.ask(py, inputs, Some(&token), |explainer| match &pictures {
            Pictures::Photos(photos) => explainer.concepts(photos, components),
            Pictures::Tensor(x) => explainer.concepts(Images::Tensor(x.view()), components),
        })?;
        let photos = pictures.photos(found.images.len());
        Ok(Concepts::new(found, photos))
    }

    /// The vector that the model makes of an image.
    fn embedding<'py>(
        &self,
        image: &Bound<'py, PyAny>,
        inputs: Inputs<'_>,
    ) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let py = image.py();
        let pictures = self.one(image)?;
        let vector = self.ask(py, inputs, None, |explainer| match &pictures {
            Pictures::Photos(photos) => explainer.embedding(photos),
            Pictures::Tensor(x) => explainer.embedding(Images::Tensor(x.view())),
        })?;
        Ok(PyArray1::from_slice(py, &vector))
    }

    /// The layers that are explained: module path and value name.
    fn layers(&self) -> Vec<(String, String)> {
        self.inner.layers().map(|(path, value)| (path.to_owned(), value.to_owned())).collect()
    }

    /// The number of maps of one image and one target, and the number of heatmaps, which is 1 where layers are fused.
    fn counts(&self) -> (usize, usize) {
        (self.inner.maps_per_target(), self.inner.heatmaps_per_target())
    }

    /// The labels of the classes.
    fn labels(&self) -> Option<Vec<String>> {
        self.inner.labels().map(<[String]>::to_vec)
    }

    /// The number of classes.
    fn classes(&self) -> usize {
        self.inner.classes()
    }

    /// The name of the engine.
    fn engine(&self) -> &'static str {
        self.inner.engine_name()
    }

    /// The ids of the methods.
    fn methods(&self) -> Vec<&'static str> {
        self.inner.methods().iter().map(|method| method.id()).collect()
    }

    /// What the scores are: the kind, and why.
    fn head(&self) -> String {
        self.inner.head().kind.to_string()
    }

    /// Name, axes and element type of the input that takes the images.
    fn input(&self) -> (String, Vec<Option<i64>>) {
        let input = self.inner.image_input();
        (input.name.clone(), input.shape.clone())
    }

    /// The model with its explanation as further outputs: its bytes, or `None` where they went to a file; and why it takes one
    /// image at a time, where it does. Without targets, the class is an input.
    fn export<'py>(
        &self,
        py: Python<'py>,
        path: Option<PathBuf>,
        targets: Option<Vec<Bound<'py, PyAny>>>,
        heads: &str,
        fp16: bool,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, Option<String>)> {
        let spec = |target: &Bound<'_, PyAny>| read(target, &self.inner).map(|(spec, _)| spec);
        let targets = match targets {
            None => ExportTargets::Input,
            Some(targets) => {
                ExportTargets::Fixed(targets.iter().map(spec).collect::<PyResult<_>>()?)
            }
        };
        let heads = settings::named(py, "heads", heads, &ExportHeads::ALL)?;
        let weights = if fp16 { ExportWeights::Half } else { ExportWeights::AsTheyAre };
        let settings = ExportSettings { targets, heads, weights };
        let written = py.detach(|| {
            let exported = self.inner.export(&settings)?;
            let bytes = match path {
                Some(path) => exported.model.save(path).map(|()| None),
                None => exported.model.to_bytes().map(Some),
            };
            Ok::<_, gradcam::Error>((bytes?, exported.fixed_batch))
        });
        let (bytes, fixed_batch) = written.or_raise(py)?;
        Ok((bytes.map(|bytes| PyBytes::new(py, &bytes)), fixed_batch))
    }

    /// The network's input that a photo becomes.
    fn prepare<'py>(&self, image: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = image.py();
        match arrays::picture(image)? {
            Picture::Photo(photo) => {
                let prepared = py.detach(|| self.inner.prepare(&photo)).or_raise(py)?;
                Ok(numpy::IntoPyArray::into_pyarray(prepared.0, py).into_any())
            }
            Picture::Tensor(_) => {
                let message =
                    "the image is an array that is ready for the network; prepare() takes photos";
                Err(errors::new(py, "ImageError", message, None))
            }
        }
    }
}
