//! Kinds and sizes of pictures.

use gradcam_image::{
    Colormap, Filter, Limits, OverlayKind, OverlayStyle, Photo, PictureSize, Placement,
    heatmap_picture, overlay, overlay_with_frame, resize,
};
use ndarray::Array2;

use crate::pixels::synthetic;

fn of_kind(kind: OverlayKind) -> OverlayStyle {
    OverlayStyle { kind, ..OverlayStyle::default() }
}

#[test]
fn contours_leave_the_photo_between_them() {
    let photo = Photo::from_rgb8(90, 30, vec![100; 3 * 90 * 30]).unwrap();
    // Heat 0 to 1 from pixel 30 to 60, of which the network saw each tenth.
    let placement =
        Placement { network_width: 9, network_height: 3, ..Placement::identity(90, 30) };
    let heat = Array2::from_shape_fn((3, 9), |(_, x)| ((x as f32 - 3.0) / 3.0).clamp(0.0, 1.0));
    let drawn = overlay(&photo, heat.view(), &placement, &of_kind(OverlayKind::Contours)).unwrap();
    for y in [0, 14, 29] {
        let row: Vec<u8> = drawn.rgb()[3 * 90 * y..][..270].iter().step_by(3).copied().collect();
        let white: Vec<usize> = (0..90).filter(|x| row[*x] > 120).collect();
        // 35 is the center of the third of the network's pixels, 65 that of the sixth.
        let lines = [0.2, 0.4, 0.6, 0.8].map(|level| 35.0 + 30.0 * level);
        let near =
            |x: usize, reach: f64| lines.iter().any(|line| (x as f64 + 0.5 - line).abs() <= reach);
        assert!(white.iter().all(|x| near(*x, 1.5)), "{white:?}");
        assert!(lines.iter().all(|line| row[*line as usize].max(row[*line as usize - 1]) > 120));
        assert!((0..90).all(|x| row[x] == 100 || near(x, 3.0)), "{row:?}");
        let dark = row.iter().filter(|value| **value < 70).count();
        assert_eq!(dark, 2 * lines.len(), "a border on each side: {row:?}");
    }
}

#[test]
fn a_cutout_is_the_photo_times_the_heat() {
    let photo = Photo::from_rgb8(4, 1, vec![200; 12]).unwrap();
    let heat = ndarray::arr2(&[[0.0, 0.25, 1.0]]);
    let placement = Placement { width: 3.0, network_width: 3, ..Placement::identity(4, 1) };
    let drawn = overlay(&photo, heat.view(), &placement, &of_kind(OverlayKind::Cutout)).unwrap();
    assert_eq!(drawn.rgb(), [[0; 3], [50; 3], [200; 3], [0; 3]].concat());
}

#[test]
fn the_opacity_of_a_transparent_heatmap_is_the_heat() {
    let photo = Photo::from_rgb8(4, 1, vec![200; 12]).unwrap();
    let heat = ndarray::arr2(&[[0.0, 0.25, 1.0]]);
    let placement = Placement { width: 3.0, network_width: 3, ..Placement::identity(4, 1) };
    let style = of_kind(OverlayKind::Transparent);
    let drawn = overlay(&photo, heat.view(), &placement, &style).unwrap();
    assert_eq!(drawn.alpha(), Some([0, 64, 255, 0].as_slice()));
    assert_eq!(drawn.rgb()[3..9], [Colormap::Jet.color(0.25), [128, 0, 0]].concat());
    assert_eq!(Photo::decode(&drawn.to_png().unwrap(), &Limits::default()).unwrap(), drawn);
    let alone = heatmap_picture(heat.view(), &style).unwrap();
    assert_eq!(alone.alpha(), Some([0, 64, 255].as_slice()));
    // The frame of a box is opaque.
    let edges = [0.5, -9.0, 9.0, 9.0];
    let framed = overlay_with_frame(&photo, heat.view(), &placement, &style, edges).unwrap();
    assert_eq!(framed.alpha(), Some([255, 255, 255, 0].as_slice()));
    assert_eq!(framed.rgb()[..6], [[255; 3], [0; 3]].concat());
}

#[test]
fn pictures_of_the_size_of_the_network_show_what_it_saw() {
    let style = |kind| OverlayStyle { size: PictureSize::Network, ..of_kind(kind) };
    let cutout = |photo: &Photo, placement: &Placement| {
        let size = (placement.network_height as usize, placement.network_width as usize);
        let heat = Array2::ones(size);
        overlay(photo, heat.view(), placement, &style(OverlayKind::Cutout)).unwrap()
    };
    let photo = synthetic(60, 40);
    // What is cropped, or what is resized, is all of the picture.
    let crop = Placement {
        x: 10.0,
        y: 5.0,
        width: 20.0,
        height: 20.0,
        network_width: 20,
        network_height: 20,
    };
    let drawn = cutout(&photo, &crop);
    assert_eq!((drawn.width(), drawn.height()), (20, 20));
    for y in 0..20 {
        assert_eq!(drawn.rgb()[60 * y..][..60], photo.rgb()[3 * (60 * (y + 5) + 10)..][..60]);
    }
    let whole = Placement::whole((60, 40), (30, 20));
    assert_eq!(cutout(&photo, &whole), resize(&photo, 30, 20, Filter::Bilinear).unwrap());
    // What was beyond the photo is black.
    let padded =
        Placement { x: -5.0, width: 70.0, network_width: 70, ..Placement::identity(60, 40) };
    let drawn = cutout(&photo, &padded);
    for (line, row) in drawn.rgb().chunks(210).zip(photo.rgb().chunks(180)) {
        assert_eq!(line, [&[0; 15], row, &[0; 15]].concat());
    }
    // A box is where it is in the photo, here a line at column 20, the tenth of the crop.
    let heat = Array2::ones((20, 20));
    let edges = [20.5, -99.0, 99.0, 99.0];
    let style = OverlayStyle { colormap: Colormap::Gray, ..style(OverlayKind::Transparent) };
    let framed = overlay_with_frame(&photo, heat.view(), &crop, &style, edges).unwrap();
    let row: Vec<u8> = framed.rgb()[..60].iter().step_by(3).copied().collect();
    assert_eq!(row[8..13], [255, 0, 255, 0, 255]);
    // The memory is that of the picture, and of the photo at the network's scale on the way to it.
    let style = OverlayStyle { size: PictureSize::Network, ..OverlayStyle::default() };
    assert_eq!(style.memory(60, 40, &whole), 3 * 30 * 20 + 3 * (3 * 30 * 20));
    assert_eq!(style.memory(60, 40, &crop), 3 * 20 * 20 + 3 * (60 * 40 + 60 * 40));
}

#[test]
fn pictures_of_an_exact_size_are_stretched() {
    let photo = synthetic(60, 40);
    let placement = Placement { x: 15.0, width: 30.0, ..Placement::whole((60, 40), (2, 2)) };
    let heat = Array2::ones((2, 2));
    let draw = |width, height, most| {
        let size = PictureSize::Exact { width, height };
        let max_side = std::num::NonZeroU32::new(most);
        let style = OverlayStyle { size, max_side, ..of_kind(OverlayKind::Cutout) };
        let drawn = overlay(&photo, heat.view(), &placement, &style);
        (drawn, style.memory(60, 40, &placement))
    };
    for (width, height, filter) in [(120, 60, Filter::Bicubic), (30, 10, Filter::Box)] {
        let (drawn, memory) = draw(width, height, 0);
        let drawn = drawn.unwrap();
        let stretched = resize(&photo, width, height, filter).unwrap();
        assert_eq!((drawn.width(), drawn.height()), (width, height));
        // The network saw the middle half.
        for (x, (pixel, whole)) in drawn.rgb().chunks(3).zip(stretched.rgb().chunks(3)).enumerate()
        {
            let x = x % width as usize;
            let is_seen = (width as usize / 4..width as usize * 3 / 4).contains(&x);
            assert_eq!(pixel, if is_seen { whole } else { &[0; 3] }, "{x} of {width}");
        }
        let pixels = u64::from(width * height);
        assert_eq!(memory, (9 * pixels).max(3 * u64::from(width) * 40 + 3 * pixels));
    }
    // A box is stretched with the photo.
    let size = PictureSize::Exact { width: 120, height: 20 };
    let style = OverlayStyle { size, ..of_kind(OverlayKind::Transparent) };
    let edges = [-9.0, 20.0, 99.0, 99.0];
    let framed = overlay_with_frame(&photo, heat.view(), &placement, &style, edges).unwrap();
    let column: Vec<u8> = framed.rgb().chunks(3 * 120).map(|line| line[180]).collect();
    assert_eq!(column[8..12], [0, 255, 255, 0]);
    let (drawn, _) = draw(120, 60, 60);
    assert_eq!(drawn.map(|drawn| (drawn.width(), drawn.height())).unwrap(), (60, 30));
    assert!(draw(0, 60, 0).0.is_err() && draw(u32::MAX, u32::MAX, 0).0.is_err());
}

#[test]
fn styles_that_do_not_fit_are_refused() {
    let photo = synthetic(4, 3);
    let heat = Array2::zeros((3, 4));
    for kind in [OverlayKind::Contours, OverlayKind::Cutout, OverlayKind::Transparent] {
        let style = OverlayStyle { colorbar: true, ..of_kind(kind) };
        let drawn = overlay(&photo, heat.view(), &Placement::identity(4, 3), &style);
        assert!(drawn.unwrap_err().to_string().contains("a bar shows the colors of a tint"));
    }
    for kind in [OverlayKind::Contours, OverlayKind::Cutout] {
        let drawn = heatmap_picture(heat.view(), &of_kind(kind));
        assert!(drawn.unwrap_err().to_string().contains("there is none"));
    }
}

#[test]
fn a_bar_takes_memory() {
    let style = OverlayStyle { colorbar: true, ..OverlayStyle::default() };
    let photo = synthetic(40, 30);
    let heat = Array2::zeros((30, 40));
    let drawn = overlay(&photo, heat.view(), &Placement::identity(40, 30), &style).unwrap();
    assert!(drawn.width() > 40 && drawn.height() == 30);
    let memory = style.memory(40, 30, &Placement::identity(40, 30));
    assert_eq!(memory, 3 * drawn.rgb().len() as u64);
    let style = of_kind(OverlayKind::Transparent);
    assert_eq!(style.memory(40, 30, &Placement::identity(40, 30)), 16 * 40 * 30);
}
