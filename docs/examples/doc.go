// Package examples holds the code that the pages of docs show. Each snippet of a
// page is a region of a file here, between the comments //doc:NAME and //doc:end.
// The tests run the regions, and TestGuideSnippets compares them with the pages:
//
//	go test ./docs/examples
//	go test ./internal/house -run TestGuideSnippets -update    copies the regions into the pages
package examples
