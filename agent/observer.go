package agent

import (
	"github.com/lanyardhq/lanyard/internal/standing"
	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
)

// obtainings hands what the token cache obtained to the board of identities, and to
// telemetry, which must not know tokens.
type obtainings struct {
	recorder *telemetry.Recorder
	board    *standing.Board
}

func (o obtainings) Obtained(got token.Obtaining) {
	o.board.Obtained(got)
	o.recorder.Obtained(telemetry.Obtaining{
		Start:    got.Start,
		End:      got.End,
		Identity: got.Request.Identity,
		Audience: got.Request.Audience,
		TokenID:  got.TokenID,
		Expires:  got.Expires,
		Err:      got.Err,
	})
}
