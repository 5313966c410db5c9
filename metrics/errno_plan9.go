package metrics

// closedByPeer are the errors of a connection that the other end has closed hard. Plan 9
// has no numbers for them.
var closedByPeer []error
