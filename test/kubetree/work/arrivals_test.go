// SPDX-License-Identifier: Apache-2.0

package work

import "testing"

// TestPiecesComeAgain holds that pieces which were made once go on coming as
// they did, beyond those that there is room for.
func TestPiecesComeAgain(t *testing.T) {
	const start, first, period = 1_000, 7, 50
	s := &pieces{start: start}
	s.fill(func(n int) piece { return piece{at: first + int64(n)*period} })
	for i := range int64(3*mostPieces + 2) {
		if got, want := s.due(i), start+first+i*period; got != want {
			t.Fatalf("piece %d comes at %d, want %d", i, got, want)
		}
	}
	s.fill(func(int) piece { return piece{work: 1, pause: 1} })
	for _, i := range []int64{0, 1, mostPieces, 5 * mostPieces} {
		if got := s.due(i); got != 0 {
			t.Errorf("piece %d, of no certain time, comes at %d", i, got)
		}
	}
}
