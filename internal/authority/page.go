package authority

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

const defaultPage = 100

// page reads the query parameters of a listing.
func page(r *http.Request) (after string, limit int, err error) {
	limit = defaultPage
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", 0, badRequest("the query cannot be parsed")
	}
	for name, values := range query {
		switch {
		case len(values) != 1:
			return "", 0, badRequest("the query parameter %.40q occurs twice", name)
		case len(values[0]) > maxFilter:
			return "", 0, badRequest("the query parameter %.40q is longer than %d bytes", name, maxFilter)
		case name == "after":
			after = values[0]
		case name == "limit":
			limit, err = strconv.Atoi(values[0])
			if err != nil || limit < 1 || limit > resource.MaxPage {
				return "", 0, badRequest("limit is not between 1 and %d", resource.MaxPage)
			}
		default:
			return "", 0, badRequest("the query has the unknown parameter %.40q; known are after and limit", name)
		}
	}
	return after, limit, nil
}
