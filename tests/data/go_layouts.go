// Writes go_layouts.tsv: `GO111MODULE=off go run tests/data/go_layouts.go > tests/data/go_layouts.tsv`

package main

import (
	"fmt"
	"time"
)

func main() {
	layouts := []string{
		"2006", "2006-01-02 15:04:05", "2006-01-02 15:04:05.000", "2006-01-02 15:04:05,000", "2006-01-02 15:04:05.000000000", "15:04:05.0000000000", "2006-01-02 15:04:05.999", "2006-01-02 15:04:05,999", "05.999999", "05.00", "05.9", "5.0", ".000", "05.0000x", "05.0001", "05.9990", "05.009",
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.999999999Z07:00", "Z0700 Z07 Z070000 Z07:00:00", "-0700 -07 -070000 -07:00:00 -07:00",
		"02/Jan/06 03:04:05 PM -0700 MST", "Mon Jan _2 15:04:05 2006", "Monday, January 2 2006 at 3:4:5pm", "__2 002 _2006", "1/2/06", "Janitor Monty Montag JanX", "20060102150405", "3:04PM", "01/02 03:04:05PM '06 -0700", "Uhrzeit: 15 h", "_2_2006__2", "2006-01-02 15:04:05.000 MST"}
	times := []struct{ t, z string }{{"2026-11-28T22:10:00.123456789Z", "Europe/Berlin"}, {"2026-01-08T04:05:06Z", "UTC"}, {"0999-07-04T00:30:09.5Z", "America/New_York"}, {"2026-06-01T11:59:59.9996Z", "Asia/Kolkata"}}
	for _, t := range times {
		x, err := time.Parse(time.RFC3339Nano, t.t)
		if err != nil {
			panic(err)
		}
		l, err := time.LoadLocation(t.z)
		if err != nil {
			panic(err)
		}
		for _, y := range layouts {
			fmt.Printf("%s\t%s\t%s\t%s\n", t.t, t.z, y, x.In(l).Format(y))
		}
	}
}
