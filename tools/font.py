# /// script
# requires-python = ">=3.11"
# dependencies = ["fonttools==4.68.0"]
# ///
"""Write crates/gradcam-cli/assets/roboto_latin.ttf, the letters of labels, from Roboto Regular.

Run from the root of the repository: uv run tools/font.py Roboto-Regular.ttf

The source is RobotoTTF/Roboto-Regular.ttf of the Debian package fonts-roboto-unhinted 2:0~20170802-3.
"""

import sys

from fontTools.subset import Options, Subsetter, load_font, save_font

LETTERS = [
    (0x20, 0x7E),  # Latin
    (0xA0, 0x17F),  # Latin with accents
    (0x370, 0x3FF),  # Greek
    (0x400, 0x45F),  # Cyrillic
    (0x2010, 0x2015),  # dashes
    (0x2018, 0x201E),  # quotation marks
    (0x2190, 0x2193),  # arrows
]
MARKS = [0x2022, 0x2026, 0x20AC, 0x2122, 0x2212, 0x2264, 0x2265, 0xFFFD]
# Kerning, hinting and signatures; text is set letter by letter.
DROPPED = ["DSIG", "GDEF", "GPOS", "GSUB", "LTSH", "VDMX", "gasp", "hdmx", "kern"]


OUT = "crates/gradcam-cli/assets/roboto_latin.ttf"


def main(source):
    options = Options(layout_features=[], hinting=False, name_IDs=[0, 1, 2, 5, 13, 14])
    options.drop_tables += DROPPED
    font = load_font(source, options)
    subsetter = Subsetter(options)
    ranges = [letter for first, last in LETTERS for letter in range(first, last + 1)]
    subsetter.populate(unicodes=ranges + MARKS)
    subsetter.subset(font)
    save_font(font, OUT, options)


if __name__ == "__main__":
    main(sys.argv[1])
