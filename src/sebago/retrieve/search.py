"""placeholder"""

from sebago.index.search import search
