package main

func Example() {
	main()
	// Output:
	// /color is "red"
	// the connection is lost
	// /color is "blue"
}
