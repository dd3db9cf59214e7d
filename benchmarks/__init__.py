"""How much a frame costs: the service beside a floor and beside what one would write first."""
