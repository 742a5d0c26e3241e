import { Html } from './html.ts'

// A battlement with a lit door in it: the sally port.
const wall = 'M6 27V9.5h4v3h4v-3h4v3h4v-3h4V27z'
const door = 'M11.5 27v-6a4.5 4.5 0 0 1 9 0v6z'

/** The mark alone; decorative, so hidden from assistive technology. */
export const mark = new Html(
  '<svg class="mark" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true" focusable="false">' +
    '<rect class="mark-tile" width="32" height="32" rx="8"/>' +
    `<path class="mark-wall" d="${wall}"/><path class="mark-door" d="${door}"/></svg>`,
)

export const brand = new Html(`<span class="brand">${mark.text}<span>Sallyport</span></span>`)

/** For `<link rel="icon">`. */
export const iconUrl = `data:image/svg+xml,${encodeURIComponent(
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#1d2f5e"/><path fill="#fff" d="${wall}"/><path fill="#f5a524" d="${door}"/></svg>`,
)}`

/** Gates behind gates, and light from the last of them; stands behind what the page says. */
export const arches = new Html(
  '<svg class="arches" viewBox="0 0 1600 900" preserveAspectRatio="xMidYMax slice" aria-hidden="true" focusable="false">' +
    '<defs><radialGradient id="glow" cx=".5" cy="1" r=".62"><stop class="glow" offset="0"/>' +
    '<stop class="glow out" offset="1"/></radialGradient></defs>' +
    '<rect class="light" width="1600" height="900" fill="url(#glow)"/>' +
    Array.from({ length: 11 }, (_, index) => 250 + index * 62 + index * index * 4)
      .map((radius) => {
        const top = Math.round(900 - radius * 0.5)
        return `<path d="M${800 - radius} 900V${top}a${radius} ${radius} 0 0 1 ${radius * 2} 0V900"/>`
      })
      .join('') +
    '</svg>',
)
