package prompt

import "strings"

// The digits for a terminal, side by side from 0 to 9, of characters that every
// screen has.
const (
	glyphRows = `.###....#...####..####..#...#.#####..###..#####..###...###.
#...#..##.......#.....#.#...#.#.....#.........#.#...#.#...#
#...#...#....###...###..#####.####..####.....#...###...####
#...#...#...#.........#.....#.....#.#...#...#...#...#.....#
.###...###..#####.####......#.####...###....#....###...###.`
	glyphWidth = 5
)

// large draws a number of digits in rows that each end with a newline.
func large(number string) string {
	var b strings.Builder
	for row := range strings.SplitSeq(glyphRows, "\n") {
		row = strings.ReplaceAll(row, ".", " ")
		var line strings.Builder
		for _, digit := range number {
			if digit < '0' || digit > '9' {
				return ""
			}
			at := int(digit-'0') * (glyphWidth + 1)
			line.WriteString("   " + row[at:at+glyphWidth])
		}
		b.WriteString(strings.TrimRight("   "+line.String(), " ") + "\n")
	}
	return b.String()
}
