//! `gradcam compare`: maps of several methods, layers or models on one sheet.

mod job;
mod label;
mod output;
mod sheet;
pub(crate) mod text;

use std::{
    collections::HashSet,
    fs,
    io::{self, IsTerminal},
};

use gradcam::{Warning, WarningLevel};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    Host,
    args::{CompareArgs, SheetFormat},
    explain::paths::{self, ImagePath},
    failure::{Failure, Result, failed},
    files, hints, names,
    terminal::{self, Style},
};
use job::Job;
use sheet::Sheet;
use text::Font;

/// Explains all images and writes the sheet. Nothing is written where one of them fails.
pub(crate) fn run(args: &CompareArgs, host: &Host) -> Result<()> {
    let format = format(args)?;
    host.begin_files();
    let images = paths::expand(&args.images, None)?;
    check_output(args, &images)?;
    let bar = progress(args.sheet.quiet);
    let job = Job::new(args, &images, &bar, host)?;
    bar.set_length(job.runs(images.len()));
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    let mut said = HashSet::new();
    // The memory of the pictures, until the sheet is made.
    let mut held = Vec::new();
    for image in &images {
        let explained = job.explain(image)?;
        for (model, warning) in explained.warnings {
            if !args.sheet.quiet && said.insert((model.clone(), warning.clone())) {
                bar.suspend(|| warn(model.as_deref(), &warning));
            }
        }
        held.push(explained.memory);
        columns = explained.columns;
        rows.extend(explained.rows);
    }
    bar.finish_and_clear();
    // Tensors have no photos.
    if rows.iter().all(|row| row.cells.first().is_some_and(Option::is_none)) {
        columns.remove(0);
        rows.iter_mut().for_each(|row| drop(row.cells.remove(0)));
    }

    let dpi = args.sheet.dpi;
    // Programs that show SVG may take another font.
    let font = Font::new(if format == SheetFormat::Svg { 1.15 } else { 1.0 })?;
    let (row_count, column_count) = (rows.len(), columns.len());
    let style = args.style.style();
    let colors = style.kind.is_tint().then_some(style.colormap);
    let sheet = Sheet::new(&font, &columns, rows, job.column(), colors)?;
    let bytes = match format {
        SheetFormat::Png => {
            let (width, height) = output::pixels(&sheet, dpi)?;
            // The pixels, and the PNG, which grows by doubling.
            let _memory = job.reserve(9 * u64::from(width) * u64::from(height))?;
            output::png(&sheet, &font, dpi)?
        }
        SheetFormat::Svg => output::svg(&sheet)?,
    };
    write(args, &bytes, row_count, column_count)
}

/// What the sheet is, by the flag or by the name of its file.
fn format(args: &CompareArgs) -> Result<SheetFormat> {
    let path = &args.sheet.output;
    if names::is_dash(path) {
        if io::stdout().is_terminal() {
            return Err(Failure::Usage(
                "-o - would write a file to the terminal; send it to a file or a program"
                    .to_owned(),
            ));
        }
        return Ok(args.sheet.format.unwrap_or(SheetFormat::Png));
    }
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let named = match extension.as_deref() {
        Some("png") => Some(SheetFormat::Png),
        Some("svg") => Some(SheetFormat::Svg),
        _ => None,
    };
    match (args.sheet.format, named) {
        (Some(asked), Some(named)) if asked != named => Err(Failure::Usage(format!(
            "-o {}: the name says another format than --format; leave --format out, or change the name",
            path.display()
        ))),
        (Some(format), _) | (None, Some(format)) => Ok(format),
        (None, None) => Err(Failure::Usage(format!(
            "-o {}: a sheet is written as PNG or SVG; end the name in .png or .svg, or say which with --format",
            path.display()
        ))),
    }
}

/// Refuses a file that cannot be written or is an input, before anything is explained.
fn check_output(args: &CompareArgs, images: &[ImagePath]) -> Result<()> {
    let path = &args.sheet.output;
    if names::is_dash(path) {
        return Ok(());
    }
    files::check(path)?;
    let given = args.signature.inputs.iter().map(|(_, path)| path);
    let images = images.iter().map(|image| &image.path);
    let mut read = images.chain(&args.models).chain(given).chain(args.target.files());
    let there = fs::canonicalize(path).ok();
    if there.is_some() && read.any(|read| fs::canonicalize(read).ok() == there) {
        return Err(failed(format!(
            "{} is an input of this run and is not written over; choose another place with -o",
            path.display()
        )));
    }
    Ok(())
}

/// Writes the sheet and says so.
fn write(args: &CompareArgs, bytes: &[u8], rows: usize, columns: usize) -> Result<()> {
    let path = &args.sheet.output;
    if names::is_dash(path) {
        return terminal::print(bytes);
    }
    files::write(path, bytes)?;
    if args.sheet.quiet {
        return Ok(());
    }
    let shown = terminal::printable(&path.display().to_string());
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    terminal::print(format!(
        "wrote {}: {rows} row{} of {columns} pictures\n",
        Style::of(&io::stdout()).green(shown),
        plural(rows)
    ))
}

fn progress(is_quiet: bool) -> ProgressBar {
    if is_quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Says a warning that is not a detail, about one of several models.
fn warn(model: Option<&str>, warning: &Warning) {
    let about = model.map_or_else(String::new, |model| format!("{}: ", terminal::printable(model)));
    let message = terminal::printable(&warning.worded(hints::words));
    let style = Style::of(&io::stderr());
    let line = |level: &str| format!("{level}: {about}{}: {message}", warning.id());
    match warning.level() {
        WarningLevel::Warning => terminal::note(style.yellow(line("warning")) + "\n"),
        WarningLevel::Note => terminal::note(style.dim(line("note")) + "\n"),
        WarningLevel::Detail => {}
    }
}
