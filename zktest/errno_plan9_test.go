package zktest

import "errors"

var errInUse = errors.New("address in use")
