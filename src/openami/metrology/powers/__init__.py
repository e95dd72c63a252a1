"""Powers of a window by IEEE 1459-2010, Budeanu and Fryze; phasors and symmetrical components."""
