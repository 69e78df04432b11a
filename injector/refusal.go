package injector

import (
	"fmt"
	"strconv"
)

// refusal is why the strict parser does not let a message pass. Refusals are
// constants of the program: making one costs nothing, and none quotes the peer.
type refusal struct {
	status int
	code   string // stable, for the metric; docs/architecture.md lists them
	reason string
}

func (r *refusal) Error() string { return r.reason }

// limit says the number of the configured limit that a message was beyond, or "".
func (r *refusal) limit(l *Limits) string {
	switch r {
	case errHeadSize:
		return fmt.Sprintf("%d bytes", l.HeadBytes)
	case errFieldCount:
		return strconv.Itoa(l.HeadFields)
	case errHeadTime:
		return l.Head.String()
	}
	return ""
}

// What the parsers refuse. The status is what a client is answered; responses
// are refused to nobody, see responses.go.
var (
	errBareLF          = &refusal{400, "bare_lf", "a line ends in LF without CR (RFC 9112 §2.2)"}
	errRequestLine     = &refusal{400, "request_line", "the request line is not method SP target SP version (RFC 9112 §3)"}
	errTarget          = &refusal{400, "target", "the request target has no form that its method allows (RFC 9112 §3.2)"}
	errVersion         = &refusal{505, "version", "the protocol version is neither HTTP/1.0 nor HTTP/1.1"}
	errFold            = &refusal{400, "folded_line", "a field line is folded (RFC 9112 §5.2)"}
	errFieldName       = &refusal{400, "field_name", "a field name is empty, or has a byte that is no token character, such as a space before the colon (RFC 9112 §5.1)"}
	errFieldValue      = &refusal{400, "field_value", "a field value holds a control byte (RFC 9110 §5.5)"}
	errHeadSize        = &refusal{431, "head_size", "the head is larger than limits.head_bytes"}
	errFieldCount      = &refusal{431, "field_count", "the head has more field lines than limits.head_fields"}
	errNoHost          = &refusal{400, "no_host", "an HTTP/1.1 request has no Host (RFC 9112 §3.2)"}
	errTwoHosts        = &refusal{400, "two_hosts", "the request has two Host fields (RFC 9112 §3.2)"}
	errHost            = &refusal{400, "host", "a host is malformed (RFC 9110 §7.2)"}
	errHostDiffers     = &refusal{400, "host_differs", "the authority of the request target differs from Host (RFC 9112 §3.2.2)"}
	errLength          = &refusal{400, "length", "Content-Length is not one decimal number (RFC 9112 §6.3)"}
	errTwoLengths      = &refusal{400, "two_lengths", "the message has two Content-Length fields (RFC 9112 §6.3)"}
	errLengthAndCoding = &refusal{400, "length_and_coding", "the message has both Content-Length and Transfer-Encoding (RFC 9112 §6.1)"}
	errCoding          = &refusal{400, "coding", "Transfer-Encoding is not exactly chunked (RFC 9112 §6.1)"}
	errCodingUnknown   = &refusal{501, "unknown_coding", "Transfer-Encoding names a coding other than chunked (RFC 9112 §6.1)"}
	errCodingVersion   = &refusal{400, "coding_version", "an HTTP/1.0 message has Transfer-Encoding (RFC 9112 §6.1)"}
	errConnectBody     = &refusal{400, "connect_body", "a CONNECT request announces a body (RFC 9110 §9.3.6)"}
	errNomination      = &refusal{400, "nomination", "Connection nominates a field that is meant for every recipient (RFC 9110 §7.6.1)"}
	errCredentials     = &refusal{400, "credentials", "the request has more than 8 Authorization fields (RFC 9110 §11.6.2)"}
	errChunkSize       = &refusal{400, "chunk_size", "a chunk's size is malformed (RFC 9112 §7.1)"}
	errChunkLine       = &refusal{400, "chunk_line", "a chunk's extensions are malformed or too long (RFC 9112 §7.1.1)"}
	errChunkEnd        = &refusal{400, "chunk_end", "a chunk does not end in CR LF (RFC 9112 §7.1)"}
	errTrailer         = &refusal{400, "trailer", "a trailer section is malformed or too long (RFC 9112 §7.1.2)"}
	errTrailerName     = &refusal{400, "trailer_name", "a trailer section carries framing, routing or credentials (RFC 9110 §6.5.1)"}
	errStatusLine      = &refusal{502, "status_line", "the status line is malformed (RFC 9112 §4)"}
	errSwitch          = &refusal{502, "switch", "the response switches protocols without having been asked (RFC 9110 §15.2.2)"}
	errResponseHead    = &refusal{502, "response_head", "the head is larger than 1 MiB, or a line of it that matters than 64 KiB"}
	errHeadTime        = &refusal{408, "head_time", "the head was not complete within limits.head_time"}
	errHeadCut         = &refusal{400, "head_cut", "the connection ended within a head"}
)
