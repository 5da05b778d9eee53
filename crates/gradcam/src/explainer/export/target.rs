//! The targets of an exported model: constants of its graph, or an input.

use onnx_grad::{
    builder::Builder,
    graph::{Graph, ValueId},
    proto::tensor_proto::DataType,
};

use super::{Explainer, ExportTargets, MOST_TARGETS, TARGET_INPUT};
use crate::{
    Result,
    error::bail,
    head::Head,
    targets::{Target, TargetForm, TargetKind, TargetRequest, TargetSpec},
};

impl Explainer {
    /// Checks that the targets can be a part of a model.
    ///
    /// # Errors
    /// `Target`.
    pub(super) fn check_targets(&self, targets: &ExportTargets) -> Result<()> {
        let head = &self.setup.head;
        let specs = match targets {
            ExportTargets::Input if !head.info.kind.has_best() => bail!(
                Target,
                "the model gives an embedding, which has no classes that an input could name; export a similarity"
            ),
            ExportTargets::Input => return Ok(()),
            ExportTargets::Fixed(specs) => specs,
        };
        let count: usize = specs.iter().map(|spec| self.ranks(spec)).sum();
        if count == 0 || count > MOST_TARGETS {
            bail!(
                Target,
                "a model is exported for 1 to {MOST_TARGETS} targets, and there are {count}"
            );
        }
        for spec in specs {
            self.check_target(spec)?;
            match spec {
                TargetSpec::One(target) if target.needs_place() => bail!(
                    Target,
                    "target {target} is at a place that a first run of the network finds, and an exported model runs once; \
                     export a class"
                ),
                TargetSpec::One(Target::Similar(_)) if count > 1 => {
                    bail!(Target, "a similarity is exported alone, and there are {count} targets")
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The number of targets that one stands for.
    fn ranks(&self, spec: &TargetSpec) -> usize {
        match spec {
            TargetSpec::One(_) => 1,
            TargetSpec::Top(best) => (*best).min(self.classes()),
        }
    }

    /// The kinds of the targets, and what they are about, as constants of the graph or as its input.
    pub(super) fn baked(
        &self,
        graph: &mut Graph,
        head: &Head,
        image: ValueId,
        targets: &ExportTargets,
    ) -> Result<(Vec<TargetKind>, Vec<TargetRequest>)> {
        let request = |form| TargetRequest {
            form,
            class: None,
            is_class_known: false,
            other: None,
            place: None,
            with_contrast: false,
        };
        let ExportTargets::Fixed(specs) = targets else {
            let images = graph.fact(image).shape.iter().flatten().take(1).copied().collect();
            let class = graph.push_input(TARGET_INPUT, DataType::Int64, images)?;
            let asked = TargetRequest { class: Some(class), ..request(TargetForm::Class) };
            return Ok((vec![TargetKind::of(&Target::Argmax, false)], vec![asked]));
        };
        let mut b = Builder::new(graph, "cam");
        let (mut kinds, mut all) = (Vec::new(), Vec::new());
        for spec in specs {
            let target = match spec {
                TargetSpec::One(target) => target,
                TargetSpec::Top(_) => &Target::Argmax,
            };
            let kind = TargetKind::of(target, false);
            let mut asked = request(kind.form);
            let mut number = |class: Option<usize>| {
                let class = class.and_then(|class| i64::try_from(class).ok());
                class.map(|class| b.per_image(class, image)).transpose()
            };
            asked.class = number(target.class())?;
            asked.is_class_known = asked.class.is_some();
            if let Target::Difference(_, other) = target {
                asked.other = number(Some(*other))?;
            }
            if let Target::Similar(vector) = target {
                let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                let unit: Vec<f64> = vector.iter().map(|v| f64::from(*v) / length).collect();
                let size = i64::try_from(unit.len()).unwrap_or(i64::MAX);
                asked.place = Some(b.floats(head.value, &[1, size], &unit)?);
            }
            kinds.push(kind);
            all.push(asked);
            for rank in 1..self.ranks(spec) {
                kinds.push(TargetKind::rank(rank));
                all.push(request(TargetForm::Rank(rank)));
            }
        }
        Ok((kinds, all))
    }
}
