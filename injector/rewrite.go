package injector

import "github.com/lanyardhq/lanyard/internal/token"

// appendInjected appends the head b[:h.size()] to dst with the token in it. The
// field takes the place of the first Authorization that the client sent, and the
// client's other copies are left out; without any it becomes the last field.
// Every other byte is the client's own.
func appendInjected(dst, b []byte, h *head, t token.Token) []byte {
	if h.credentials == 0 {
		end := h.size() - len("\r\n")
		dst = append(dst, b[:end]...)
		dst = appendBearer(dst, t)
		return append(dst, "\r\n"...)
	}
	from := uint32(0)
	for i, line := range h.authorization[:h.credentials] {
		dst = append(dst, b[from:line.from]...)
		if i == 0 {
			dst = appendBearer(dst, t)
		}
		from = line.to
	}
	return append(dst, b[from:h.size()]...)
}

func appendBearer(dst []byte, t token.Token) []byte {
	dst = append(dst, "Authorization: Bearer "...)
	dst = append(dst, t.Reveal()...)
	return append(dst, "\r\n"...)
}
