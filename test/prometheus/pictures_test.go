// SPDX-License-Identifier: Apache-2.0

package prometheus

import (
	"os"
	"testing"
	"time"
)

// picturesEnv makes TestMonitoring write pictures of the dashboards to
// docs/images.
const picturesEnv = "SLICEWATCH_PICTURES"

// pictureTime is how much a picture shows.
const pictureTime = 15 * time.Minute

func collectFor() time.Duration {
	if os.Getenv(picturesEnv) != "" {
		return pictureTime
	}
	return collectTime
}

func draw(t *testing.T, s *server) { t.Helper() }
