// Package openapitest holds what passes over HTTP against an OpenAPI 3.1 document: a
// Transport watches what a test's client sends and gets, and every answer must be one
// that the document promises.
//
// It must not know the authority: it knows the document, and what is on the wire. Of
// OpenAPI it reads what our document uses, and refuses the rest.
package openapitest
