//! What all pictures have in common: colours for light and dark, sizes of letters, and the text that a screen reader takes. A picture has a
//! background of its own, because a page may be dark where the reader's system is light.

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// What is drawn on.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A colour, and what stands for it where the reader prefers dark.
pub struct Ink {
    pub light: RGBColor,
    dark: RGBColor,
}

impl Ink {
    const fn new(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Self {
        Self { light: RGBColor(light.0, light.1, light.2), dark: RGBColor(dark.0, dark.1, dark.2) }
    }
}

/// The background.
pub const PAPER: Ink = Ink::new((255, 255, 255), (13, 17, 23));
/// Titles and numbers.
pub const TEXT: Ink = Ink::new((31, 35, 40), (230, 237, 243));
/// Less important text, and axes.
pub const MUTED: Ink = Ink::new((89, 99, 110), (157, 165, 174));
/// Lines behind everything.
pub const GRID: Ink = Ink::new((221, 226, 231), (48, 54, 61));
/// netsonde.
pub const OWN: Ink = Ink::new((9, 105, 218), (88, 166, 255));
/// Others.
pub const OTHER: Ink = Ink::new((140, 149, 159), (110, 118, 129));
/// What is aimed at.
pub const GOAL: Ink = Ink::new((188, 76, 0), (240, 136, 62));
const INKS: [Ink; 7] = [PAPER, TEXT, MUTED, GRID, OWN, OTHER, GOAL];

const FAMILY: &str = "system-ui, sans-serif";
/// plotters takes the height of a line, and writes the size of the letters.
const LINE_HEIGHT: f64 = 1.24;
/// Pixels.
pub const TITLE_SIZE: f64 = 16.0;
/// Pixels.
pub const TEXT_SIZE: f64 = 13.0;
/// Pixels.
pub const SMALL_SIZE: f64 = 12.0;

/// Letters of this size and colour, at the left or right end, or in the middle of a point.
pub fn letters(size: f64, ink: &'static Ink, at: HPos) -> TextStyle<'static> {
    let style = TextStyle::from((FAMILY, size * LINE_HEIGHT).into_font()).color(&ink.light);
    style.pos(Pos::new(at, VPos::Center))
}

/// A picture: what `paint` leaves on it, made readable for everybody.
pub fn draw(
    size: (u32, u32),
    title: &str,
    description: &str,
    paint: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&PAPER.light)?;
        paint(&area)?;
        area.present()?;
    }
    readable(&svg, title, description).context("plotters wrote no SVG")
}

/// With a title, a description and the colours for dark.
fn readable(svg: &str, title: &str, description: &str) -> Option<String> {
    let (head, body) = svg.split_once('>')?;
    head.strip_prefix("<svg ")?;
    let (title, description) = (escape(title), escape(description));
    let mut text = format!(
        "{head} role=\"img\" aria-labelledby=\"title description\">\n<title id=\"title\">{title}</title>\n\
         <desc id=\"description\">{description}</desc>\n<style>@media (prefers-color-scheme: dark) {{\n"
    );
    for Ink { light, dark } in &INKS {
        let (light, dark) = (hexadecimal(*light), hexadecimal(*dark));
        text.push_str(&format!(
            "[fill=\"{light}\"] {{ fill: {dark} }} [stroke=\"{light}\"] {{ stroke: {dark} }}\n"
        ));
    }
    text.push_str("}</style>");
    text.push_str(body);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Some(text)
}

/// As plotters writes it.
fn hexadecimal(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of WCAG 2.2.
    fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn letters_and_marks_stand_out_in_light_and_dark() {
        for (ink, least) in [(&TEXT, 4.5), (&MUTED, 4.5), (&OWN, 3.0), (&OTHER, 3.0), (&GOAL, 3.0)] {
            for (ink, paper) in [(ink.light, PAPER.light), (ink.dark, PAPER.dark)] {
                let contrast = contrast(ink, paper);
                assert!(contrast >= least, "{} has {contrast:.2}", hexadecimal(ink));
            }
        }
    }

    #[test]
    fn every_colour_has_one_for_the_dark() {
        let svg = draw((100, 50), "a < b", "a & b", |area| {
            for ink in &INKS {
                area.draw(&Circle::new((5, 5), 3, ink.light.filled()))?;
            }
            Ok(area.draw(&Text::new("<&>", (9, 9), letters(TEXT_SIZE, &TEXT, HPos::Left)))?)
        })
        .unwrap();
        assert!(svg.contains("<title id=\"title\">a &lt; b</title>"), "{svg}");
        assert!(svg.contains("<desc id=\"description\">a &amp; b</desc>"), "{svg}");
        let (style, body) = svg.split_once("</style>").unwrap();
        for (begin, _) in body.match_indices("fill=\"#") {
            let colour = &body[begin..begin + 14];
            assert!(style.contains(&format!("[{colour}]")), "{colour} is as in the light");
        }
        assert!(body.contains("&lt;&amp;&gt;"), "{body}");
    }
}
