package main

func Example() {
	main()
	// Output:
	// /color is "red"
	// "/color" changed: it is "blue"
}
