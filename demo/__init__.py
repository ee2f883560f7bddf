"""The demonstration: three facilities, their residents, and the main job done once for all to see."""
