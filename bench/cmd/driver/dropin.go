package main

import (
	dropin "github.com/seed-9f8420c6/zk/gozk"
)

// dialDropin is this module's client with the API of go-zookeeper.
func dialDropin(o options) (*client, error) {
	s, events, err := dropin.Connect([]string{o.addr}, o.timeout, dropin.WithLogger(quiet{}))
	if err != nil {
		return nil, err
	}
	if _, err := begun(events, func(ev dropin.Event) bool { return ev.State == dropin.StateHasSession }); err != nil {
		return nil, err
	}
	return clientOf(s, o), nil
}
