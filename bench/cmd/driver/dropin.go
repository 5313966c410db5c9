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
	up := make(chan struct{}, 16)
	go func() {
		for ev := range events {
			if ev.State == dropin.StateHasSession {
				up <- struct{}{}
			}
		}
	}()
	if err := await(up); err != nil {
		return nil, err
	}
	return clientOf(s, o), nil
}
