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
	c := &client{
		get: func(path string) error {
			_, _, err := s.Get(path)
			return err
		},
		set: func(path string, data []byte) error {
			_, err := s.Set(path, data, -1)
			return err
		},
		children: func(path string) (int, error) {
			names, _, err := s.Children(path)
			return len(names), err
		},
		follow:   func(string) error { return nil },
		followed: func() int64 { return 0 },
		close:    s.Close,
	}
	c.watches = func(n int) watches {
		chs := make([]<-chan dropin.Event, n)
		return watches{
			arm: func(i int, path string) error {
				var err error
				if o.absent {
					_, _, chs[i], err = s.ExistsW(path)
				} else {
					_, _, chs[i], err = s.GetW(path)
				}
				return err
			},
			wait: func() {
				for _, ch := range chs {
					<-ch
				}
			},
		}
	}
	return c, nil
}
