// The images that are measured. Python and numpy are the size and shape of issue reports about slow pulls; the others are
// corners: many small files, one large file, many layers.
import { buildDebianTars } from './debian-image.ts'
import { buildBigFile, buildManyFiles, buildManyLayers, BIG_PROGRAM, FILES_PROGRAM, LAYERS_PROGRAM } from './generated.ts'
import type { Recipe } from './recipe.ts'

const PYTHON = "import numpy\nprint('numpy', numpy.__version__, int(numpy.arange(1000).sum()), flush=True)\n"
const NODE = [
  "const lodash = require('lodash')", "const semver = require('semver')",
  "console.log('node', semver.major(process.version), lodash.chunk([1, 2, 3, 4], 2).length)", ''
].join('\n')

const CORNER_LINKS = ['20ms-10MB', '20ms-100MB']

export const RECIPES: readonly Recipe[] = [
  {
    name: 'python',
    version: '4',
    about: 'Debian python3 and numpy, with a compiler as such images have it; import numpy and print',
    program: ['/usr/bin/python3', '-B', '/app/main.py'],
    build: async (folder) => (await buildDebianTars(folder, ['python3', 'python3-numpy', 'gcc'], { 'app/main.py': PYTHON })).tars
  },
  {
    name: 'node',
    version: '2',
    about: 'Debian nodejs; require lodash and semver, and print',
    program: ['/usr/bin/node', '/app/main.js'],
    build: async (folder) => (await buildDebianTars(folder, ['nodejs', 'node-lodash', 'node-semver'], { 'app/main.js': NODE })).tars
  },
  {
    name: 'nginx',
    version: '2',
    about: 'Debian nginx; ready when its sockets are open',
    program: ['/bin/sh', '-c', 'nginx && echo ready && nginx -s stop'],
    build: async (folder) => (await buildDebianTars(folder, ['nginx-light'], { 'app/index.html': 'hello\n' })).tars
  },
  {
    name: 'files100k',
    version: '2',
    about: '100,000 small files; 300 of them are read',
    links: CORNER_LINKS,
    program: FILES_PROGRAM,
    build: buildManyFiles
  },
  {
    name: 'big1g',
    version: '1',
    about: 'one file of 1 GiB; 16 places of it are read',
    links: CORNER_LINKS,
    program: BIG_PROGRAM,
    build: buildBigFile
  },
  {
    name: 'layers60',
    version: '2',
    about: '60 layers; one file of each is read',
    links: CORNER_LINKS,
    program: LAYERS_PROGRAM,
    build: buildManyLayers
  }
]
