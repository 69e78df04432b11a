package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// printResources shows the columns of a kind, by name.
func printResources(w io.Writer, kind resource.KindInfo, all []resource.Any) {
	fmt.Fprint(w, "NAME")
	for _, column := range kind.Columns {
		_, member, _ := strings.Cut(column, ".")
		fmt.Fprint(w, "\t"+strings.ToUpper(strings.ReplaceAll(member, "_", " ")))
	}
	fmt.Fprintln(w)
	slices.SortFunc(all, func(a, b resource.Any) int { return strings.Compare(a.Name, b.Name) })
	for _, one := range all {
		fmt.Fprint(w, one.Name)
		for _, column := range kind.Columns {
			fmt.Fprint(w, "\t"+cell(one, column))
		}
		fmt.Fprintln(w)
	}
}

// cell is the text of one member, "-" where there is none.
func cell(one resource.Any, column string) string {
	part, member, _ := strings.Cut(column, ".")
	from := one.Spec
	if part == "status" {
		from = one.Status
	}
	var members map[string]any
	if json.Unmarshal(from, &members) != nil {
		return "-" // the authority made it
	}
	switch value := members[member].(type) {
	case nil:
		return "-"
	case []any:
		var words []string
		for _, word := range value {
			words = append(words, fmt.Sprint(word))
		}
		if len(words) == 0 {
			return "-"
		}
		return strings.Join(words, ",")
	case string:
		if value == "" {
			return "-"
		}
		return value
	default:
		return fmt.Sprint(value)
	}
}
