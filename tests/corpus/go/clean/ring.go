// Package ring holds the newest values of a series.
package ring

import "sync"

// Ring keeps the last values that were added. It is safe for use by several goroutines.
type Ring struct {
	mu     sync.Mutex
	values []float64
	next   int
	full   bool
}

// New returns a ring for size values; size must be above zero.
func New(size int) *Ring {
	if size <= 0 {
		panic("ring: size must be above zero")
	}
	return &Ring{values: make([]float64, size)}
}

// Add puts a value in, in place of the oldest one once the ring is full.
func (r *Ring) Add(value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[r.next] = value
	r.next = (r.next + 1) % len(r.values)
	r.full = r.full || r.next == 0
}

// Values returns a copy, the oldest value first.
func (r *Ring) Values() []float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.full {
		return append([]float64(nil), r.values[:r.next]...)
	}
	return append(append([]float64(nil), r.values[r.next:]...), r.values[:r.next]...)
}
