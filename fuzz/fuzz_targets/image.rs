//! Decodes bytes as an image and processes it like the command line: orientation, resize, crop,
//! normalization and an overlay. The last bytes select the flags; decoders do not read past the end
//! of an image.

#![no_main]

use std::num::NonZeroU32;

use gradcam::{
    image::{
        Colormap, Filter, Limits, OverlayKind, OverlayStyle, Overrides, Photo, PictureSize,
        heatmap, overlay,
        preprocess::{Channels, Fit, Layout, Numbers},
        resolve,
    },
    ndarray::Array2,
};
use libfuzzer_sys::fuzz_target;

/// Small, for a high rate of executions.
const LIMITS: Limits = Limits { max_pixels: 1 << 18, max_bytes: 1 << 20 };

fn of<T: Copy>(byte: u8, from: &[T]) -> T {
    from[usize::from(byte) % from.len()]
}

fuzz_target!(
    // The decoder wrapper converts panics into errors; the fuzzer's panic hook would abort first.
    init: std::panic::set_hook(Box::new(|info| eprintln!("{info}"))),
    |bytes: &[u8]| {
        let Ok(photo) = Photo::decode(bytes, &LIMITS) else { return };
        let Some([size, fit, numbers, axes, style, alpha, map, spot]) = bytes.last_chunk() else {
            return;
        };
        let sides = [1, 2, 3, 7, 32, 224, 255, 300];
        let size = (of(*size, &sides), of(*size / 8, &sides));
        let channels = of(*axes, &[Channels::Rgb, Channels::Bgr, Channels::Gray]);
        let overrides = Overrides {
            size: Some(size),
            fit: of(*fit, &[None, Some(Fit::Crop), Some(Fit::Squash), Some(Fit::Pad)]),
            short_side: of(*fit / 4, &[None, None, Some(1), Some(256), Some(500)]),
            filter: "nearest,box,bilinear,hamming,bicubic,lanczos"
                .split(',')
                .nth(usize::from(*numbers) % 7)
                .and_then(|name| name.parse::<Filter>().ok()),
            rescale: of(*numbers / 7, &[None, Some(1.0), Some(1.0 / 255.0)]),
            mean: of(*numbers / 21, &[None, Some(0.5), Some(f32::MAX)]).map(|mean| vec![mean]),
            std: of(*numbers / 63, &[None, Some(-1.0), Some(f32::MIN_POSITIVE)])
                .map(|std| vec![std]),
            layout: of(*axes / 3, &[None, Some(Layout::Nchw), Some(Layout::Nhwc)]),
            channels: Some(channels),
            ..Overrides::default()
        };
        let resolved = resolve(&overrides, &[], None, &[None; 4], Numbers::Floats).expect("flags that fit");
        let Ok((tensor, placement)) = resolved.preprocess.apply(&photo) else { return };
        assert_eq!(tensor.len(), size.0 as usize * size.1 as usize * channels.count());

        let mut raw = Array2::from_elem((usize::from(*map % 15) + 1, usize::from(*map / 15) + 1), -1.0);
        let hot = usize::from(*spot) % raw.len();
        raw.iter_mut().nth(hot).into_iter().for_each(|value| *value = 3.0);
        let (width, height) = (placement.network_width, placement.network_height);
        let heat = heatmap(&[raw.view()], (height as usize, width as usize)).expect("a finite map");
        assert!(heat.iter().all(|value| (0.0..=1.0).contains(value)), "heat is 0 to 1");
        let kinds = [
            OverlayKind::Alpha,
            OverlayKind::Fade,
            OverlayKind::PytorchGradCam,
            OverlayKind::Contours,
            OverlayKind::Cutout,
            OverlayKind::Transparent,
        ];
        let style = OverlayStyle {
            colormap: of(*style, &Colormap::ALL).1,
            alpha: f64::from(*alpha) / 255.0,
            kind: of(*style / 7, &kinds),
            size: of(
                *spot,
                &[
                    PictureSize::Photo,
                    PictureSize::Network,
                    PictureSize::Exact { width: u32::from(*map) + 1, height: u32::from(*axes) + 1 },
                ],
            ),
            max_side: NonZeroU32::new(u32::from(*style / 42)),
            colorbar: false,
        };
        let drawn = overlay(&photo, heat.view(), &placement, &style).expect("an overlay");
        let longest = match style.size {
            PictureSize::Photo => photo.width().max(photo.height()),
            PictureSize::Network => width.max(height),
            PictureSize::Exact { width, height } => width.max(height),
        };
        let most = style.max_side.map_or(longest, |most| most.get().min(longest));
        assert_eq!(drawn.width().max(drawn.height()), most);
        let png = drawn.to_png().expect("a PNG");
        assert!(Photo::decode(&png, &Limits::default()).expect("our own PNG") == drawn);
    }
);
