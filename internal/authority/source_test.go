package authority

import (
	"net/http"
)

// requestFrom is a request of that peer, with these fields ("Name: value").
func requestFrom(peer string, fields ...[2]string) *http.Request {
	r := &http.Request{RemoteAddr: peer, Header: http.Header{}}
	for _, field := range fields {
		r.Header.Add(field[0], field[1])
	}
	return r
}
