//! What is made of the maps of methods, and which methods and models it goes with.

use crate::{
    Result,
    error::bail,
    head::{Head, HeadKind},
    image::{Fusion, HeatmapSettings},
    input::ImageInput,
    method::{METHODS, Method, Site},
    profile::Profile,
    targets::Target,
};

/// What is made of the maps of methods.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MapSettings {
    pub(super) profile: Profile,
    pub(super) fusion: Fusion,
    pub(super) aug_smooth: bool,
    pub(super) eigen_smooth: bool,
}

impl MapSettings {
    /// How the maps of a method become heatmaps.
    pub(super) fn heatmaps_of(&self, method: Method) -> HeatmapSettings {
        HeatmapSettings {
            rules: self.profile.info().rules,
            fusion: self.fusion_of(method),
            tanh: method.id() == "layercam",
        }
    }

    /// How one heatmap is made of the maps of several layers by a method.
    pub(super) fn fusion_of(&self, method: Method) -> Fusion {
        match method.info().site {
            Site::Layers(own) => own,
            _ => self.fusion,
        }
    }

    /// Checks that the methods and the model go with it.
    ///
    /// # Errors
    /// `Method`.
    pub(super) fn check(
        &self,
        methods: &[Method],
        input: &ImageInput,
        head: HeadKind,
    ) -> Result<()> {
        methods.iter().try_for_each(|method| self.profile.check_method(*method))?;
        self.profile.check_fusion(self.fusion)?;
        if self.fusion != Fusion::None {
            methods.iter().try_for_each(|method| self.check_fusion_of(*method))?;
        }
        let profile = self.profile.info();
        if (self.aug_smooth || self.eigen_smooth) && !profile.smooths {
            bail!(
                Method,
                "profile {} smooths no maps, because {} has neither test-time augmentation nor principal components of weighted \
                 channels",
                profile.id,
                profile.library
            );
        }
        if self.aug_smooth {
            check_augmentation(methods, input, head)?;
        }
        if self.eigen_smooth {
            methods.iter().try_for_each(|method| check_sum(*method))?;
        }
        Ok(())
    }

    /// Refuses a method whose maps are not fused, or not in this way.
    fn check_fusion_of(&self, method: Method) -> Result<()> {
        let fusion = self.fusion;
        if !method.info().site.is_layer_heatmap() {
            bail!(
                Method,
                "method {method} explains the network's input, and fusion {fusion} is one of the maps of layers"
            );
        }
        let own = self.fusion_of(method);
        if own != fusion {
            bail!(
                Method,
                "method {method} makes one heatmap of its layers by fusion {own}, not {fusion}; leave out fusion {fusion}, or \
                 choose another method"
            );
        }
        Ok(())
    }

    /// Checks that a target goes with it.
    ///
    /// # Errors
    /// `Target`.
    pub(super) fn check_target(&self, target: &Target, head: &Head) -> Result<()> {
        if self.aug_smooth && target.is_placed(head) {
            bail!(
                Target,
                "test-time augmentation flips the image, and target {target} is at a place that moves with it; explain a class"
            );
        }
        Ok(())
    }

    /// Checks that there are several layers, where they are fused.
    ///
    /// # Errors
    /// `Method`.
    pub(super) fn check_layers(
        &self,
        methods: &[Method],
        layers: &[(String, String)],
        is_scales: bool,
    ) -> Result<()> {
        let fuses = |method: &&Method| self.fusion_of(**method) != Fusion::None;
        let Some(method) = methods.iter().find(fuses) else { return Ok(()) };
        let what = match self.fusion {
            Fusion::None => format!("method {method}"),
            fusion => format!("fusion {fusion}"),
        };
        match layers {
            _ if is_scales => bail!(
                Method, NameLayers;
                "{what} makes one heatmap of several layers, and of the default layers of a detector one is explained, \
                 that of the box's scale"
            ),
            [(layer, _)] => bail!(
                Method, NameLayers;
                "{what} makes one heatmap of several layers, and one is explained, \"{layer}\""
            ),
            _ => Ok(()),
        }
    }
}

/// Refuses what is not the same, mirrored, where the image is mirrored, or a bit brighter.
fn check_augmentation(methods: &[Method], input: &ImageInput, head: HeadKind) -> Result<()> {
    if let Some(method) = methods.iter().find(|method| !method.info().site.is_layer_heatmap()) {
        bail!(
            Method,
            "method {method} explains the network's input, and test-time augmentation averages the heatmaps of layers"
        );
    }
    if !input.elem.is_float() {
        bail!(
            Method,
            "test-time augmentation multiplies the network's input by 0.9 and 1.1, and \"{}\" takes {}",
            input.name,
            input.elem.numpy_name()
        );
    }
    let axes = input.space().count();
    if axes != 2 {
        bail!(
            Method,
            "test-time augmentation flips pictures, and the network's input \"{}\" has {axes} axes of positions",
            input.name
        );
    }
    if matches!(head, HeadKind::Detection | HeadKind::Sequence) {
        bail!(
            Method,
            "test-time augmentation flips the image, and the scores of a {head} are those of places, which move with it"
        );
    }
    Ok(())
}

/// Refuses a method whose map is no sum over channels.
fn check_sum(method: Method) -> Result<()> {
    if method.info().is_sum() {
        return Ok(());
    }
    let sums = METHODS.iter().filter(|row| row.is_sum()).map(|row| row.id);
    bail!(
        Method,
        "the map of method {method} is no sum over channels, which their principal component could stand for; such sums are {}",
        sums.collect::<Vec<_>>().join(", ")
    )
}
