// Package mongo stands in for MongoDB's driver, of which FerretDB uses this one type.
// The driver itself would be an eighth of the time that the server takes to build.
package mongo

// WriteError is one document's failure.
type WriteError struct {
	Index   int
	Code    int
	Message string
}
