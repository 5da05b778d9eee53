//! Explainers.

use std::{
    cell::RefCell,
    collections::HashMap,
    ops::ControlFlow,
    panic::resume_unwind,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use gradcam::{
    CancelToken, ErrorKind, Images, Target, TargetSpec, Targets, Warning,
    image::Photo,
    ndarray::{ArrayD, Axis, concatenate},
};
use pyo3::{
    prelude::*,
    types::{PyList, PyString, PyTuple},
};

use crate::{
    arrays::{self, Picture},
    errors::{self, OrRaise},
    explanation::Explanation,
    settings::{self, Settings},
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

/// A target, and the note about its text.
type ReadTarget = (TargetSpec, Option<Warning>);

type Inputs<'py> = HashMap<String, Bound<'py, PyAny>>;

impl Explainer {
    /// A target from `None`, the number of a class, or a text.
    fn target(&self, target: &Bound<'_, PyAny>) -> PyResult<ReadTarget> {
        let py = target.py();
        if target.is_none() {
            return Ok((Target::Argmax.into(), None));
        }
        if let Ok(text) = target.cast::<PyString>() {
            let text = text.to_str()?;
            let spec = self.inner.parse_target(text).or_raise(py)?;
            let note = spec.note(text);
            return Ok((spec, note));
        }
        match target.extract::<i64>().map(usize::try_from) {
            Ok(Ok(class)) => Ok((Target::Class(class).into(), None)),
            Ok(Err(_)) => {
                let message = format!("class {target} is negative; classes count from 0");
                Err(errors::new(py, "TargetError", &message, None))
            }
            Err(_) => {
                let message = format!(
                    "a target is None, the number of a class, or a text such as a label, \"A-B\" or \"top:3\"; it \
                     is a {}",
                    target.get_type()
                );
                Err(errors::new(py, "TargetTypeError", &message, None))
            }
        }
    }

    /// The one target of an image of a batch.
    fn one_target(&self, target: &Bound<'_, PyAny>) -> PyResult<Target> {
        match self.target(target)?.0 {
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
            return arrays::pictures(images, self.inner.image_input().elem.is_float())
                .map(|found| found.map_or_else(Pictures::Photos, Pictures::Tensor));
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

    /// Explains pictures with the interpreter free for other threads.
    fn run(
        &self,
        py: Python<'_>,
        pictures: Pictures,
        targets: Targets,
        inputs: Inputs<'_>,
        token: Option<&CancelToken>,
    ) -> PyResult<Vec<Vec<Explanation>>> {
        let mut explainer = self.inner.clone();
        for (name, value) in inputs {
            explainer = explainer.with_input(&name, arrays::tensor(&value)?).or_raise(py)?;
        }
        let explain = |explainer: gradcam::Explainer| match &pictures {
            Pictures::Photos(photos) => explainer.explain(photos, targets),
            Pictures::Tensor(x) => explainer.explain(Images::Tensor(x.view()), targets),
        };
        let explained = py.detach(|| match token {
            None => explain(explainer),
            Some(token) => watched(token, || explain(explainer.with_cancel_token(token))),
        });
        let raised = RAISED.take();
        let explained = match (explained, raised) {
            (Err(error), Some(raised)) if error.kind() == ErrorKind::Canceled => {
                return Err(raised);
            }
            (explained, _) => explained.or_raise(py)?,
        };
        let photos: Vec<Option<Arc<Photo>>> = match pictures {
            Pictures::Photos(photos) => photos.into_iter().map(|one| Some(one.into())).collect(),
            Pictures::Tensor(_) => vec![None; explained.len()],
        };
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
        let model = settings::model(model)?;
        let builder = settings.set(py, gradcam::Explainer::builder(model))?;
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
            targets.iter().map(|target| self.target(target)).collect::<PyResult<_>>()?;
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
        let one = |target| self.one_target(target);
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
    fn method(&self) -> &'static str {
        self.inner.methods().first().map_or("", |method| method.id())
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
